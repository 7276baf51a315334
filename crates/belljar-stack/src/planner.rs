//! From declarations to a plan. The same code checks a stack when it is read, before there is a session: then
//! what only a session knows is made up, and nothing but the faults is kept. So no text can be forgotten by
//! the check that is looked at by the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use belljar_model::{ReplicaName, ServiceName};

use crate::command_env;
use crate::declare::{Command, ServiceDecl, StackDecl, SuiteDecl, TaskDecl, VolumeDecl};
use crate::fault::{Fault, Faults};
use crate::near::suggestion;
use crate::package::Package;
use crate::plan::{
    Boot, Context, FilePlan, Isolation, Plan, ReplicaPlan, RestartPolicy, ServicePlan, StopPlan, SuitePlan,
    TaskPlan, VolumePlan,
};
use crate::programs::Programs;
use crate::read_service::is_clean_absolute;
use crate::recipe::ParameterKind;
use crate::resolve::{Own, output, output_names};
use crate::source::Place;

/// A program of a recipe that is not on the machine.
#[derive(Debug)]
pub(crate) struct MissingProgram {
    pub(crate) program: String,
    pub(crate) packages: Vec<Package>,
    pub(crate) searched: Vec<String>,
}

pub(crate) struct Planner<'a> {
    pub(crate) stack: &'a StackDecl,
    /// The session and the machine; nothing while the stack is only checked.
    pub(crate) given: Option<(&'a Context, &'a dyn Programs)>,
    pub(crate) faults: Faults,
    pub(crate) missing: Option<MissingProgram>,
    /// Programs that were found already, by service.
    pub(crate) found: BTreeMap<(ServiceName, String), String>,
    program_dirs: BTreeSet<PathBuf>,
    pub(crate) host_env: BTreeMap<String, String>,
}

const MAX_SERVICES: usize = 254;
const SESSION_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const PREFIX: u8 = 16;
const LOOPBACK_PREFIX: u8 = 8;
const SIGTERM: i32 = 15;
const STOP_WITHIN: Duration = Duration::from_secs(10);
const TASK_TIMEOUT: Duration = Duration::from_mins(5);
const SUITE_TIMEOUT: Duration = Duration::from_mins(1);

impl<'a> Planner<'a> {
    fn new(stack: &'a StackDecl, given: Option<(&'a Context, &'a dyn Programs)>) -> Self {
        Self {
            stack,
            given,
            faults: Faults::default(),
            missing: None,
            found: BTreeMap::new(),
            program_dirs: BTreeSet::new(),
            host_env: BTreeMap::new(),
        }
    }

    /// What would be wrong with any plan of this stack.
    pub(crate) fn check(stack: &'a StackDecl) -> Faults {
        let mut planner = Self::new(stack, None);
        planner.whole();
        planner.faults
    }

    /// The plan of no session: what only a session or the machine knows is made up.
    pub(crate) fn outline(stack: &'a StackDecl) -> Plan {
        Self::new(stack, None).whole()
    }

    pub(crate) fn plan(
        stack: &'a StackDecl,
        context: &'a Context,
        programs: &'a dyn Programs,
    ) -> Result<Plan, (Faults, Option<MissingProgram>)> {
        let mut planner = Self::new(stack, Some((context, programs)));
        let plan = planner.whole();
        let missing = planner.missing;
        let plan = planner.faults.or(plan).map_err(|faults| (faults, None))?;
        match missing {
            Some(missing) => Err((Faults::default(), Some(missing))),
            None => Ok(plan),
        }
    }

    fn whole(&mut self) -> Plan {
        let stack = self.stack;
        self.check_names();
        self.check_isolation();
        let order = self.order();
        let services: Vec<_> = stack.services.iter().map(|one| self.service(one)).collect();
        let tasks = stack.tasks.iter().map(|one| self.task(one)).collect();
        let suites = stack.suites.iter().map(|one| self.suite(one)).collect();
        self.check_published();
        let host_services = self.host_services();
        let (address, prefix) = match self.isolation() {
            Isolation::Sealed => (SESSION_ADDRESS, PREFIX),
            Isolation::Shared => (Ipv4Addr::LOCALHOST, LOOPBACK_PREFIX),
        };
        Plan {
            stack: stack.name.clone(),
            dir: stack.dir.clone(),
            isolation: self.isolation(),
            filesystem: stack.filesystem,
            home: stack.home,
            limits: stack.limits,
            command_env: command_env::command_env(&services, &host_services),
            services,
            tasks,
            suites,
            order,
            address,
            prefix,
            program_dirs: std::mem::take(&mut self.program_dirs).into_iter().collect(),
            host_services,
            host_env: std::mem::take(&mut self.host_env),
        }
    }

    fn check_names(&mut self) {
        let stack = self.stack;
        for task in &stack.tasks {
            if let Some(service) = stack.services.iter().find(|one| one.name.as_str() == task.name.as_str()) {
                let message = format!("`{}` is both a service and a task", task.name);
                self.faults.push(
                    Fault::new(&task.place, message, "services and tasks share one space of names")
                        .also(&service.place, "the service"),
                );
            }
        }
        if let Some(service) = stack.services.iter().find(|one| one.slot > MAX_SERVICES) {
            let label = format!("a session has addresses for {MAX_SERVICES} services");
            self.faults.push(Fault::new(&service.place, "too many services", label));
        }
    }

    fn service(&mut self, service: &'a ServiceDecl) -> ServicePlan {
        self.check_ports(service);
        self.check_named_services(service);
        self.check_program(service);
        let count = service.replicas.unwrap_or(1);
        let replicas: Vec<_> = (1..=count).map(|number| self.replica(service, number)).collect();
        let own = Own::Service(service);
        let mut outputs = BTreeMap::new();
        for name in output_names(service) {
            // In shared isolation, what is one address elsewhere is as many as there are replicas.
            let is_of_one = !self.is_one_address(service)
                || output(service, &name).is_some_and(|one| one.template.is_of_one_replica());
            let own = if is_of_one { Own::Replica(service, 1) } else { own };
            // Every output is looked at, also one that the service as a whole does not have.
            let text = self.output(own, &name);
            outputs.extend(text.filter(|_| !is_of_one).map(|text| (name, text)));
        }
        ServicePlan {
            name: service.name.clone(),
            recipe: service.recipe.as_ref().map(|used| used.recipe.name.clone()),
            ports: replicas.first().map(|one| one.ports.clone()).unwrap_or_default(),
            replicas,
            boot: service.boot.unwrap_or(Boot::Parallel),
            after: self.dependencies(&service.process),
            restart: service.restart.unwrap_or(RestartPolicy::Never),
            stop: StopPlan {
                signal: service.stop.signal.unwrap_or(SIGTERM),
                within: service.stop.within.unwrap_or(STOP_WITHIN),
            },
            publish: self.publish(service),
            outputs,
            watch: service.watch.clone(),
        }
    }

    /// The program that runs in place of the service's own is there.
    fn check_program(&mut self, service: &ServiceDecl) {
        let (Some(program), Some((_, programs))) = (&service.program, self.given) else { return };
        if let Some(path) = programs.find(&program.value, &[]) {
            return self.keep_visible(&path);
        }
        let message = format!("there is no program {}", program.value);
        self.faults.push(Fault::new(&program.place, message, "expected the path of an executable file"));
    }

    /// Parameters that name a service name one of this stack.
    fn check_named_services(&mut self, service: &ServiceDecl) {
        let stack = self.stack;
        let Some(used) = &service.recipe else { return };
        for parameter in used.recipe.parameters.iter().filter(|one| one.kind == ParameterKind::Service) {
            let Some(named) = used.parameters.get(&parameter.name) else { continue };
            let names = stack.services.iter().map(|one| one.name.as_str());
            if !named.value.is_empty() && !names.clone().any(|name| name == named.value) {
                let message = format!("there is no service `{}`", named.value);
                let label = format!("`{}` is the name of a service of this stack", parameter.name);
                self.fault_at(&named.place, message, label, suggestion(&named.value, "services", names));
            }
        }
    }

    fn check_ports(&mut self, service: &ServiceDecl) {
        for (index, port) in service.ports.iter().enumerate() {
            let same =
                |one: &&crate::declare::PortDecl| one.port == port.port && one.protocol == port.protocol;
            if let Some(first) = service.ports[..index].iter().find(same) {
                let message = format!("`{}` and `{}` are the same port", first.name.value, port.name.value);
                self.faults.push(
                    Fault::new(&port.place, message, "a replica can listen on it only once")
                        .also(&first.place, "the first one"),
                );
            }
        }
    }

    fn replica(&mut self, service: &'a ServiceDecl, number: u16) -> ReplicaPlan {
        let own = Own::Replica(service, number);
        let cwd = self.cwd(&service.process, own);
        let mut argv = self.argv(service.process.command.as_ref(), own, &cwd);
        for (parameter, words) in &service.flags {
            // Words are looked at whether they are wanted or not, so that the check sees them all.
            let words: Vec<_> = words.iter().map(|word| self.text(word, own)).collect();
            let value = service.recipe.as_ref().and_then(|used| used.parameters.get(&parameter.value));
            if value.is_some_and(|one| !one.value.is_empty() && one.value != "false") {
                argv.extend(words);
            }
        }
        let init = service.init.as_ref().map(|script| {
            let script = self.text(script, own);
            ["sh", "-ec", &script].map(str::to_owned).to_vec()
        });
        ReplicaPlan {
            name: ReplicaName::of(&service.name, number),
            address: self.address(service.slot, number),
            ports: self.ports(service, number),
            url: self.replica_url(service, number),
            argv,
            init,
            env: self.environment(&service.process, own),
            limits: service.process.limits,
            volumes: service.volumes.iter().map(|one| self.volume_plan(service, number, one)).collect(),
            files: service.files.iter().map(|(path, text)| self.file(path, text, own)).collect(),
            ready: self.ready(service, number, &cwd),
            health: self.health(service, number, &cwd),
            cwd,
        }
    }

    fn volume_plan(&self, service: &ServiceDecl, number: u16, volume: &VolumeDecl) -> VolumePlan {
        VolumePlan {
            name: volume.name.clone(),
            source: self.volume(service, number, &volume.name),
            target: volume.target.as_ref().map(|(path, _)| path.clone()),
        }
    }

    fn file(
        &mut self,
        path: &crate::reference::Template,
        text: &crate::reference::Template,
        own: Own<'a>,
    ) -> FilePlan {
        let faults = self.faults.len();
        let target = PathBuf::from(self.text(path, own));
        // A path whose references failed has been told of already.
        if !is_clean_absolute(&target) && self.faults.len() == faults {
            let written = path.place.raw().trim_matches(['"', '\'']);
            let message = format!("`{written}` is not an absolute path");
            self.faults.push(Fault::new(&path.place, message, "expected a path from `/` on, without `..`"));
        } else if self.faults.len() == faults {
            self.check_file(path, &target);
        }
        FilePlan { path: target, text: self.text(text, own) }
    }

    fn task(&mut self, task: &'a TaskDecl) -> TaskPlan {
        let own = Own::Task(task);
        let cwd = self.cwd(&task.process, own);
        TaskPlan {
            name: task.name.clone(),
            argv: self.argv(task.process.command.as_ref(), own, &cwd),
            env: self.environment(&task.process, own),
            cwd,
            limits: task.process.limits,
            after: self.dependencies(&task.process),
            timeout: task.timeout.unwrap_or(TASK_TIMEOUT),
        }
    }

    fn suite(&mut self, suite: &'a SuiteDecl) -> SuitePlan {
        let dir = self.stack.dir.clone();
        let own = Own::Suite;
        SuitePlan {
            name: suite.name.clone(),
            scenarios: suite.scenarios.clone(),
            tags: suite.tags.clone(),
            timeout: suite.timeout.unwrap_or(SUITE_TIMEOUT),
            retries: suite.retries,
            env: suite.env.iter().map(|one| (one.name.clone(), self.text(&one.value, own))).collect(),
            exclusive: suite.exclusive,
            weight: suite.weight,
            requires: suite.requires.clone(),
            setup: suite.setup.as_ref().map(|command| self.argv(Some(command), own, &dir)),
            home: suite.home.as_ref().map(|(home, _)| *home),
        }
    }

    fn cwd(&mut self, process: &crate::declare::Process, own: Own<'a>) -> PathBuf {
        match &process.cwd {
            Some(cwd) => tidy(&self.stack.dir.join(self.text(cwd, own))),
            None => self.stack.dir.clone(),
        }
    }

    /// The words of a command. A program with a `/` in it that is relative lies below `cwd`.
    pub(crate) fn argv(&mut self, command: Option<&Command>, own: Own<'a>, cwd: &Path) -> Vec<String> {
        match command {
            Some(Command::Words(words)) => {
                let mut argv: Vec<_> = words.iter().map(|word| self.text(word, own)).collect();
                if let Some(program) = argv.first_mut()
                    && program.contains('/')
                    && !program.starts_with('/')
                {
                    *program = tidy(&cwd.join(&*program)).to_string_lossy().into_owned();
                }
                argv
            }
            Some(Command::Shell(script)) => {
                ["sh".to_owned(), "-c".to_owned(), self.text(script, own)].to_vec()
            }
            // A unit without a command has been told of when it was read.
            None => Vec::new(),
        }
    }

    /// Notes the directory of a program, unless it is one that every session shows.
    pub(crate) fn keep_visible(&mut self, program: &Path) {
        if let Some(dir) = program.parent()
            && !["/usr", "/bin", "/sbin"].iter().any(|usual| dir.starts_with(usual))
        {
            self.program_dirs.insert(dir.to_path_buf());
        }
    }

    pub(crate) fn fault_at(
        &mut self,
        place: &Place,
        message: String,
        label: impl Into<String>,
        help: Option<String>,
    ) {
        self.faults.push(Fault::new(place, message, label).with_maybe_help(help));
    }
}

/// The path without `.` in it.
fn tidy(path: &Path) -> PathBuf {
    path.components().collect()
}
