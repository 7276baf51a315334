//! Stacks and plans as the targets make them, and what holds of every plan.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use belljar_model::{SessionId, SessionName};
use belljar_stack::plan::{Plan, UnitName};
use belljar_stack::{Context, Faults, Programs, RecipeBook, SourceFile, Stack};

/// Every program is installed, in /opt/bin, but for one.
pub(super) struct Programmes;

impl Programs for Programmes {
    fn find(&self, name: &str, _extra_dirs: &[String]) -> Option<PathBuf> {
        (name != "missing").then(|| Path::new("/opt/bin").join(name))
    }
}

pub(super) fn context() -> Context {
    let host_env = [("PATH", "/usr/bin:/bin"), ("HOME", "/home/ada"), ("TOKEN", "a b")];
    Context {
        session_id: session_id(),
        session_name: session_name(),
        session_dir: PathBuf::from("/state/k3f9-x2ab"),
        seed: 7,
        host_env: host_env.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        leased: None,
    }
}

pub(super) fn session_id() -> SessionId {
    SessionId::new("k3f9-x2ab").expect("it is one")
}

pub(super) fn session_name() -> SessionName {
    SessionName::new("pods").expect("it is one")
}

pub(super) fn parse(text: String, recipes: &RecipeBook) -> Result<Stack, Faults> {
    // The directory does not exist: no file that a text names is there.
    let source = SourceFile { path: PathBuf::from("/nowhere/pods/belljar.toml"), text };
    Stack::parse(&source, recipes)
}

/// The plan of a stack, where it has one; checked either way.
pub(super) fn plan(stack: &Stack) -> Option<Plan> {
    let context = context();
    // In shared isolation it is planned or refused, and does not fail in any other way.
    let shared = Context { leased: Some(belljar_stack::plan::LeasedPorts::default()), ..context.clone() };
    if let Err(error) = stack.plan(&shared, &Programmes) {
        assert!(!error.to_string().is_empty());
    }
    match stack.plan(&context, &Programmes) {
        Ok(plan) => {
            assert_sound(&plan, &context);
            assert_eq!(Some(&plan), stack.plan(&context, &Programmes).ok().as_ref(), "planned twice");
            Some(plan)
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    }
}

pub(super) fn assert_told(faults: &Faults) {
    assert!(faults.iter().len() > 0, "refused without a fault");
    assert!(!faults.render(false).is_empty() && !faults.render(true).is_empty());
    for fault in faults {
        assert!(fault.line() > 0 && fault.column() > 0);
        assert!(!fault.message().is_empty(), "{fault:?}");
    }
}

/// What a backend relies on without looking.
fn assert_sound(plan: &Plan, context: &Context) {
    let mut addresses = BTreeSet::from([plan.address]);
    let mut names = BTreeSet::new();
    for service in &plan.services {
        for replica in &service.replicas {
            assert!(addresses.insert(replica.address), "two have {}", replica.address);
            assert_eq!(replica.address.octets()[..2], plan.address.octets()[..2], "another network");
            assert!(names.insert(replica.name.clone()), "two are called {}", replica.name);
            assert_eq!(replica.name.service(), service.name);
            assert_words(&replica.argv);
            assert_variables(&replica.env);
            assert!(replica.cwd.is_absolute());
            for volume in &replica.volumes {
                assert_below(&volume.source, &context.session_dir);
                assert!(volume.target.as_ref().is_none_or(|target| is_clean(target)));
            }
            for file in &replica.files {
                assert!(is_clean(&file.path), "{}", file.path.display());
            }
        }
    }
    for task in &plan.tasks {
        assert_words(&task.argv);
        assert_variables(&task.env);
        assert!(task.cwd.is_absolute());
    }
    for suite in &plan.suites {
        assert_variables(&suite.env);
        assert!(!suite.scenarios.starts_with('/') && !suite.scenarios.split('/').any(|part| part == ".."));
    }
    assert_variables(&plan.command_env);
    assert_ordered(plan);
}

/// Every unit once, and after what it comes after.
fn assert_ordered(plan: &Plan) {
    let place: BTreeMap<&UnitName, usize> =
        plan.order.iter().enumerate().map(|(place, unit)| (unit, place)).collect();
    assert_eq!(place.len(), plan.order.len(), "a unit stands twice in the order");
    assert_eq!(place.len(), plan.services.len() + plan.tasks.len(), "a unit is not in the order");
    let services = plan.services.iter().map(|one| (UnitName::Service(one.name.clone()), &one.after));
    let tasks = plan.tasks.iter().map(|one| (UnitName::Task(one.name.clone()), &one.after));
    for (unit, after) in services.chain(tasks) {
        for dependency in after {
            assert!(place[&dependency.on] < place[&unit], "{unit} stands before {}", dependency.on);
        }
    }
}

fn assert_words(argv: &[String]) {
    assert!(!argv.is_empty(), "a command without a program");
    assert!(argv.iter().all(|word| !word.contains('\0')), "a NUL in {argv:?}");
}

fn assert_variables(env: &BTreeMap<String, String>) {
    for (name, value) in env {
        assert!(!name.is_empty() && !name.contains(['=', '\0']), "no variable can be called {name:?}");
        assert!(!value.contains('\0'), "a NUL in {value:?}");
    }
}

fn assert_below(path: &Path, dir: &Path) {
    assert!(path.starts_with(dir) && is_clean(path), "{} leaves {}", path.display(), dir.display());
}

fn is_clean(path: &Path) -> bool {
    path.is_absolute()
        && path.components().all(|part| part != Component::ParentDir)
        && !path.as_os_str().as_encoded_bytes().contains(&0)
}
