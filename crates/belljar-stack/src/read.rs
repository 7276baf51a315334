//! From TOML to declarations: a stack file's top level and its suites. Services and tasks are in
//! `read_service`.

use std::path::Path;

use belljar_model::{ServiceName, StackName, TaskName};
use globset::Glob;

use crate::declare::{StackDecl, SuiteDecl};
use crate::fault::Fault;
use crate::keys::Level;
use crate::plan::{Filesystem, Home, Isolation, Requires};
use crate::read_service::Services;
use crate::recipe::RecipeBook;
use crate::reference::{Author, SUBJECTS};
use crate::source::Text;
use crate::walk::{Entries, Entry, Node, Walk};

pub(crate) const HOMES: &[(&str, Home)] = &[("host", Home::Host), ("private", Home::Private)];
pub(crate) const ISOLATIONS: &[(&str, Isolation)] =
    &[("sealed", Isolation::Sealed), ("shared", Isolation::Shared)];
pub(crate) const FILESYSTEMS: &[(&str, Filesystem)] =
    &[("host", Filesystem::Host), ("ro", Filesystem::ReadOnly), ("overlay", Filesystem::Overlay)];

pub(crate) const BACKENDS: &[(&str, ())] = &[("native", ())];
pub(crate) const KINDS: &[(&str, ())] = &[("executables", ())];
pub(crate) const SESSIONS: &[(&str, ())] = &[("own", ())];

impl Walk {
    pub(crate) fn stack(&mut self, top: &Entries<'_>, recipes: &RecipeBook) -> StackDecl {
        self.check_keys(top, Level::Top);
        let dir = self.source.path.parent().unwrap_or(Path::new("")).to_path_buf();
        let name = top.get("name").and_then(|node| self.stack_name(node));
        if let Some(node) = top.get("backend") {
            self.choice(Level::Top, "backend", node, BACKENDS);
        }
        let mut isolation = None;
        if let Some(node) = top.get("isolation") {
            isolation = self.choice(Level::Top, "isolation", node, ISOLATIONS);
        }
        let filesystem =
            top.get("filesystem").and_then(|node| self.choice(Level::Top, "filesystem", node, FILESYSTEMS));
        let home = top.get("home").and_then(|node| self.choice(Level::Top, "home", node, HOMES));
        let services = self.named(top.get("service"), "service", |walk, entry| {
            let name = walk.service_name(&entry.key)?;
            walk.service(name, entry, Services::OfStack(recipes))
        });
        let tasks = self.named(top.get("task"), "task", |walk, entry| {
            let name = walk.name(&entry.key, "task name", TaskName::new, TaskName::RULE)?;
            walk.task(name, entry)
        });
        let suites = self.named(top.get("suite"), "suite", |walk, entry| {
            // A suite's name has the form of a stack's.
            walk.name(&entry.key, "suite name", StackName::new, StackName::RULE)?;
            walk.suite(entry)
        });
        let host_services = top.get("host_services").map(|node| self.host_services(node));
        let private_homes = suites.iter().filter_map(|one: &SuiteDecl| one.home.clone());
        let private_homes = private_homes.chain(home.zip(top.get("home").map(|node| node.place.clone())));
        let mut sealed_only: Vec<_> = private_homes
            .filter(|(home, _)| *home == Home::Private)
            .map(|(_, place)| (place, "home = \"private\""))
            .collect();
        if let (Some(Filesystem::ReadOnly | Filesystem::Overlay), Some(node)) =
            (filesystem, top.get("filesystem"))
        {
            sealed_only.push((node.place.clone(), "filesystem"));
        }
        StackDecl {
            name: name.unwrap_or_else(|| name_of_directory(&dir)),
            dir,
            isolation,
            sealed_only,
            filesystem: filesystem.unwrap_or(Filesystem::Host),
            home: home.unwrap_or(Home::Host),
            limits: self.limits(top.get("limits")),
            env: self.variables(top.get("env"), Author::Stack),
            inherit_env: top.get("inherit_env").map(|node| self.variable_names(node)).unwrap_or_default(),
            services,
            tasks,
            inactive: Vec::new(),
            suites,
            host_services: host_services.unwrap_or_default(),
        }
    }

    fn stack_name(&mut self, node: &Node<'_>) -> Option<StackName> {
        let text = self.string(node, "a string: the stack's name")?;
        self.name(&text, "stack name", StackName::new, StackName::RULE)
    }

    pub(crate) fn service_name(&mut self, key: &Text) -> Option<ServiceName> {
        let name = self.name(key, "service name", ServiceName::new, ServiceName::RULE)?;
        if SUBJECTS.contains(&key.value.as_str()) || key.value == "localhost" {
            let message = format!("no service can be called `{name}`");
            let label = format!("`{name}` has a meaning of its own in references or in networks");
            self.fault(&key.place, message, label);
            return None;
        }
        Some(name)
    }

    /// A name that keeps the rule of its type.
    pub(crate) fn name<T, E>(
        &mut self,
        text: &Text,
        what: &str,
        make: impl Fn(String) -> Result<T, E>,
        rule: &str,
    ) -> Option<T> {
        let made = make(text.value.clone()).ok();
        if made.is_none() {
            self.fault(&text.place, format!("`{}` is not a {what}", text.value), rule);
        }
        made
    }

    /// The tables `[what.NAME]`, each read by `read`.
    pub(crate) fn named<'a, T>(
        &mut self,
        node: Option<&Node<'a>>,
        what: &str,
        mut read: impl FnMut(&mut Self, &Entry<'a>) -> Option<T>,
    ) -> Vec<T> {
        let Some(node) = node else { return Vec::new() };
        let expected = format!("a table of {what}s by name, as in `[{what}.NAME]`");
        let Some(entries) = self.table(node, &expected) else { return Vec::new() };
        entries.list.iter().filter_map(|entry| read(self, entry)).collect()
    }

    fn suite(&mut self, entry: &Entry<'_>) -> Option<SuiteDecl> {
        let level = Level::Suite;
        let table = self.keyed_table(&entry.value, level, "a table, as in `[suite.NAME]`")?;
        if let Some(node) = table.get("kind") {
            self.choice(level, "kind", node, KINDS);
        }
        if let Some(node) = table.get("session") {
            self.choice(level, "session", node, SESSIONS);
        }
        let scenarios =
            table.get("scenarios").and_then(|node| self.string(node, "a string: a glob of files"));
        let scenarios = scenarios.and_then(|text| self.glob(&text));
        // A suite of another kind is told that it is not carried out, and needs no more.
        if table.get("scenarios").is_none() && table.get("kind").is_none() {
            let fault =
                Fault::new(&entry.key.place, "a suite without scenarios", "this suite has no `scenarios`");
            self.faults
                .push(fault.with_help("write `scenarios = \"scenarios/*\"`, a glob of executable files"));
        }
        let tags = table.get("tags").and_then(|node| self.strings(node, "a list of strings"));
        let retries = table.get("retries").and_then(|node| self.number(node, 0..=100));
        let weight = table.get("weight").and_then(|node| self.number(node, 1..=1000));
        Some(SuiteDecl {
            name: entry.key.value.clone(),
            scenarios: scenarios.unwrap_or_default(),
            tags: tags.unwrap_or_default().into_iter().map(|tag| tag.value).collect(),
            timeout: table.get("timeout").and_then(|node| self.duration(node, false)),
            retries: retries.unwrap_or(0),
            env: self.variables(table.get("env"), Author::Stack),
            exclusive: table.get("exclusive").and_then(|node| self.boolean(node)).unwrap_or(false),
            weight: weight.unwrap_or(1),
            requires: table.get("requires").map(|node| self.requires(node)).unwrap_or_default(),
            setup: table.get("setup").and_then(|node| self.command(node, Author::Stack)),
            home: table
                .get("home")
                .and_then(|node| Some((self.choice(level, "home", node, HOMES)?, node.place.clone()))),
        })
    }

    fn requires(&mut self, node: &Node<'_>) -> Requires {
        let expected = "a table such as { env = [\"TOKEN\"], commands = [\"psql\"] }";
        let Some(table) = self.keyed_table(node, Level::Requires, expected) else {
            return Requires::default();
        };
        let mut list = |key| {
            let texts = table.get(key).and_then(|node| self.strings(node, "a list of strings"));
            texts.unwrap_or_default().into_iter().map(|text| text.value).collect()
        };
        Requires { env: list("env"), commands: list("commands"), capabilities: list("capabilities") }
    }

    /// A glob of files below the stack's directory.
    pub(crate) fn glob(&mut self, text: &Text) -> Option<String> {
        if text.value.starts_with('/') || text.value.split('/').any(|part| part == "..") {
            let message = format!("`{}` leaves the stack's directory", text.value);
            self.fault(&text.place, message, "expected a path below the directory of the stack file");
            return None;
        }
        match Glob::new(&text.value) {
            Ok(_) => Some(text.value.clone()),
            Err(error) => {
                self.fault(&text.place, "this is not a glob", error.kind().to_string());
                None
            }
        }
    }
}

/// The directory's name made into the name of a stack: what does not fit becomes `-`.
fn name_of_directory(dir: &Path) -> StackName {
    let name = dir.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let fitting = name.chars().map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' });
    let fitting: String = fitting.skip_while(|c| *c == '-').take(40).collect();
    StackName::new(fitting.trim_end_matches('-'))
        .unwrap_or_else(|_| StackName::new("stack").expect("it keeps the rule"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::name_of_directory;

    #[test]
    fn every_directory_names_a_stack() {
        for (dir, name) in [
            ("/home/ada/pods", "pods"),
            ("/home/ada/My App_2", "my-app-2"),
            ("/home/ada/.config", "config"),
            ("/", "stack"),
            ("/ä", "stack"),
        ] {
            assert_eq!(name_of_directory(Path::new(dir)).as_str(), name);
        }
    }
}
