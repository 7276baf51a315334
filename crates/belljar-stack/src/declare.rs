//! A stack as it was declared: every value read and checked alone, references still unresolved. What depends
//! on other parts of the stack or on the session is decided by the planner.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use belljar_model::{ServiceName, StackName, TaskName};

use crate::plan::{
    Boot, Condition, Filesystem, Home, Interfaces, Isolation, Limits, Protocol, RestartPolicy,
};
use crate::recipe::Recipe;
use crate::reference::Template;
use crate::source::{Place, Text};

#[derive(Debug, Clone)]
pub(crate) struct StackDecl {
    pub(crate) name: StackName,
    pub(crate) dir: PathBuf,
    /// What the file asks for; where it says nothing, the machine decides.
    pub(crate) isolation: Option<Isolation>,
    /// What only a sealed session can carry out, where it stands.
    pub(crate) sealed_only: Vec<(Place, &'static str)>,
    pub(crate) filesystem: Filesystem,
    pub(crate) home: Home,
    pub(crate) limits: Limits,
    pub(crate) env: Vec<Variable>,
    pub(crate) inherit_env: Vec<String>,
    pub(crate) services: Vec<ServiceDecl>,
    pub(crate) tasks: Vec<TaskDecl>,
    /// Services and tasks that are there only for profiles that were not asked for: their names and profiles.
    pub(crate) inactive: Vec<(String, Vec<String>)>,
    pub(crate) suites: Vec<SuiteDecl>,
    pub(crate) host_services: Vec<HostServiceDecl>,
}

/// A port of the host under a name in the session.
#[derive(Debug, Clone)]
pub(crate) struct HostServiceDecl {
    pub(crate) name: ServiceName,
    pub(crate) place: Place,
    /// `host:port`; only variables of the host are referred to.
    pub(crate) to: Template,
    /// Its port inside, where it is another one.
    pub(crate) port: Option<u16>,
}

/// A port that is to be shown on the host.
#[derive(Debug, Clone)]
pub(crate) struct PublishDecl {
    pub(crate) port: Text,
    /// The number that was asked for, and where.
    pub(crate) fixed: Option<(u16, Place)>,
    pub(crate) on: Interfaces,
}

/// A variable of an environment.
#[derive(Debug, Clone)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) value: Template,
}

/// What is to be executed.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    /// A program and its arguments.
    Words(Vec<Template>),
    /// A script for `sh`.
    Shell(Template),
}

/// What services and tasks have in common.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) command: Option<Command>,
    pub(crate) cwd: Option<Template>,
    pub(crate) env: Vec<Variable>,
    pub(crate) env_files: Vec<Text>,
    pub(crate) after: Option<Vec<AfterDecl>>,
    pub(crate) limits: Limits,
    /// It is there only when one of these was asked for; always where it names none.
    pub(crate) profiles: Vec<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct AfterDecl {
    pub(crate) on: Text,
    /// What was asked for in the long form.
    pub(crate) condition: Option<(Condition, Place)>,
}

#[derive(Debug, Clone)]
pub(crate) struct ServiceDecl {
    pub(crate) name: ServiceName,
    /// The name, where the service is declared.
    pub(crate) place: Place,
    /// Which part of the session's addresses is its own: its place in the file, from 1.
    pub(crate) slot: usize,
    pub(crate) recipe: Option<UsedRecipe>,
    pub(crate) process: Process,
    /// Runs once before the first start; only recipes have it.
    pub(crate) init: Option<Template>,
    /// Words that are appended to the command when the parameter of that name is on; only recipes have them.
    pub(crate) flags: Vec<(Text, Vec<Template>)>,
    pub(crate) ports: Vec<PortDecl>,
    pub(crate) publish: Vec<PublishDecl>,
    pub(crate) ready: Option<ReadyDecl>,
    pub(crate) health: Option<HealthDecl>,
    pub(crate) stop: StopDecl,
    pub(crate) volumes: Vec<VolumeDecl>,
    pub(crate) files: Vec<(Template, Template)>,
    pub(crate) replicas: Option<u16>,
    pub(crate) boot: Option<Boot>,
    pub(crate) restart: Option<RestartPolicy>,
    /// Globs below the stack's directory of what it is started again for when it changes.
    pub(crate) watch: Vec<String>,
    /// The program that runs in place of its own.
    pub(crate) program: Option<Text>,
}

/// The recipe of a service, with its parameters decided.
#[derive(Debug, Clone)]
pub(crate) struct UsedRecipe {
    pub(crate) recipe: Arc<Recipe>,
    /// Each with the place where it was decided.
    pub(crate) parameters: BTreeMap<String, Text>,
}

#[derive(Debug, Clone)]
pub(crate) struct PortDecl {
    pub(crate) name: Text,
    pub(crate) port: u16,
    pub(crate) protocol: Protocol,
    pub(crate) listen: bool,
    /// Where the number stands.
    pub(crate) place: Place,
}

#[derive(Debug, Clone)]
pub(crate) struct ReadyDecl {
    pub(crate) place: Place,
    pub(crate) check: Option<CheckDecl>,
    pub(crate) within: Option<Duration>,
    pub(crate) stable: Option<Duration>,
}

#[derive(Debug, Clone)]
pub(crate) struct HealthDecl {
    /// What must hold; without a check of its own, what makes it ready.
    pub(crate) ready: ReadyDecl,
    pub(crate) every: Option<Duration>,
    pub(crate) restart: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum CheckDecl {
    /// Every TCP port, or those that are named.
    Tcp(Option<Vec<Text>>),
    Http {
        path: Template,
        port: Option<Text>,
        status: Option<u16>,
        body: Option<String>,
    },
    Exec(Command),
    Log(String),
    Notify,
    File(Template),
    Socket(Template),
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StopDecl {
    pub(crate) signal: Option<i32>,
    pub(crate) within: Option<Duration>,
}

#[derive(Debug, Clone)]
pub(crate) struct VolumeDecl {
    pub(crate) name: String,
    /// Where else it is shown, and where the file says so.
    pub(crate) target: Option<(PathBuf, Place)>,
}

#[derive(Debug, Clone)]
pub(crate) struct TaskDecl {
    pub(crate) name: TaskName,
    pub(crate) place: Place,
    pub(crate) process: Process,
    pub(crate) timeout: Option<Duration>,
}

#[derive(Debug, Clone)]
pub(crate) struct SuiteDecl {
    pub(crate) name: String,
    pub(crate) scenarios: String,
    pub(crate) tags: Vec<String>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) retries: u32,
    pub(crate) env: Vec<Variable>,
    pub(crate) exclusive: bool,
    pub(crate) weight: u32,
    pub(crate) requires: crate::plan::Requires,
    pub(crate) setup: Option<Command>,
    pub(crate) home: Option<(Home, Place)>,
}

impl ServiceDecl {
    /// Takes from `base`, a recipe's service, what this one does not say itself. Tables of things with names
    /// are joined by name.
    pub(crate) fn over(self, base: Self) -> Self {
        let ready = match (self.ready, base.ready) {
            (Some(own), Some(base)) => Some(ReadyDecl {
                place: own.place,
                check: own.check.or(base.check),
                within: own.within.or(base.within),
                stable: own.stable.or(base.stable),
            }),
            (own, base) => own.or(base),
        };
        Self {
            name: self.name,
            place: self.place,
            slot: self.slot,
            recipe: self.recipe,
            process: Process {
                command: self.process.command.or(base.process.command),
                cwd: self.process.cwd.or(base.process.cwd),
                env: join(base.process.env, self.process.env, |one| one.name.clone()),
                env_files: self.process.env_files,
                after: self.process.after.or(base.process.after),
                limits: self.process.limits,
                profiles: self.process.profiles,
            },
            init: base.init,
            flags: base.flags,
            ports: join(base.ports, self.ports, |one| one.name.value.clone()),
            publish: self.publish,
            ready,
            health: self.health.or(base.health),
            stop: StopDecl {
                signal: self.stop.signal.or(base.stop.signal),
                within: self.stop.within.or(base.stop.within),
            },
            volumes: join(base.volumes, self.volumes, |one| one.name.clone()),
            files: join(base.files, self.files, |(path, _)| path.place.raw().to_owned()),
            replicas: self.replicas.or(base.replicas),
            boot: self.boot.or(base.boot),
            restart: self.restart.or(base.restart),
            watch: self.watch,
            program: self.program,
        }
    }
}

/// `base` with the things of `own` in the place of those with the same name, and the others after them.
fn join<T>(mut base: Vec<T>, own: Vec<T>, name: impl Fn(&T) -> String) -> Vec<T> {
    for one in own {
        match base.iter_mut().find(|other| name(other) == name(&one)) {
            Some(other) => *other = one,
            None => base.push(one),
        }
    }
    base
}
