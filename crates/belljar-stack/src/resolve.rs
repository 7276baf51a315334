//! Putting values in the place of references.

use std::path::PathBuf;

use belljar_model::ReplicaName;

use crate::declare::{PortDecl, ServiceDecl, TaskDecl};
use crate::edits::{ask_for, of_profiles};
use crate::fault::Fault;
use crate::near::{nearest, suggestion};
use crate::plan::{Context, Protocol};
use crate::planner::{MissingProgram, Planner};
use crate::recipe::{Output, Parameter, ParameterKind, below};
use crate::reference::{Fact, Part, Reference, Subject, Template};
use crate::source::Text;

/// Whose text it is: what `self` means in it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Own<'a> {
    Replica(&'a ServiceDecl, u16),
    /// An output of a service, for all its replicas at once.
    Service(&'a ServiceDecl),
    Task(&'a TaskDecl),
    Suite,
}

impl<'a> Own<'a> {
    pub(crate) fn service(self) -> Option<&'a ServiceDecl> {
        match self {
            Self::Replica(service, _) | Self::Service(service) => Some(service),
            Self::Task(_) | Self::Suite => None,
        }
    }
}

/// Whether outputs can be asked for: an output that asked for another might never come to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outputs {
    Known,
    BeingMade,
}

impl<'a> Planner<'a> {
    /// The text with every reference replaced. One that has no value is noted and left out.
    pub(crate) fn text(&mut self, template: &Template, own: Own<'a>) -> String {
        self.fill(template, own, Outputs::Known)
    }

    fn fill(&mut self, template: &Template, own: Own<'a>, outputs: Outputs) -> String {
        let mut text = String::new();
        for part in &template.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Reference(reference) => {
                    text.push_str(&self.reference(reference, own, outputs).unwrap_or_default());
                }
            }
        }
        text
    }

    fn reference(&mut self, reference: &Reference, own: Own<'a>, outputs: Outputs) -> Option<String> {
        // While the stack is only checked, a session is made up.
        let context = self.given.map(|(context, _)| context);
        let or = |made_up: &str, fact: fn(&Context) -> String| context.map_or(made_up.to_owned(), fact);
        match &reference.subject {
            Subject::SessionId => Some(or("0000-0000", |one| one.session_id.to_string())),
            Subject::SessionName => Some(or("session", |one| one.session_name.to_string())),
            Subject::SessionDir => Some(self.session_dir().to_string_lossy().into_owned()),
            Subject::Seed => Some(or("0", |one| one.seed.to_string())),
            Subject::Host(name) => self.host_variable(reference, name),
            Subject::Parameter(name) => self.parameter(reference, name, own).map(|one| one.value.clone()),
            Subject::Named(name, fact) => self.named(reference, name, fact, own, outputs),
            Subject::Program(name) => self.program(reference, name, own.service()?),
            Subject::Own(fact) => match own {
                Own::Replica(service, number) => {
                    self.fact(reference, service, Some(number), fact, outputs, true)
                }
                Own::Service(service) => self.fact(reference, service, None, fact, outputs, true),
                Own::Task(task) if *fact == Fact::Name => Some(task.name.to_string()),
                Own::Task(_) => {
                    self.unknown(reference, "a task has a name and nothing else: `${self.name}`", None)
                }
                Own::Suite => self.unknown(reference, "a suite is not part of the session", None),
            },
            Subject::Other(name, fact) if self.host_service(name).is_some() => {
                self.fact_of_host_service(reference, name, fact)
            }
            Subject::Other(name, fact) => {
                let (service, number) = self.service_or_replica(reference, name)?;
                self.fact(reference, service, number, fact, outputs, false)
            }
        }
    }

    fn host_variable(&mut self, reference: &Reference, name: &str) -> Option<String> {
        // Only the session's start knows the host; until then any path will do.
        let Some((context, _)) = self.given else { return Some("/env".to_owned()) };
        let value = context.host_env.get(name).cloned();
        if let Some(value) = &value {
            self.host_env.insert(name.to_owned(), value.clone());
        } else {
            let fault =
                Fault::new(&reference.place, format!("the variable `{name}` is not set"), "needed here");
            self.faults.push(fault.with_help(format!("set it: `{name}=… belljar …`")));
        }
        value
    }

    fn parameter(&mut self, reference: &Reference, name: &str, own: Own<'a>) -> Option<&'a Text> {
        let used = own.service().and_then(|service| service.recipe.as_ref())?;
        let value = used.parameters.get(name);
        if value.is_none() {
            let names = used.parameters.keys().map(String::as_str);
            return self.unknown(
                reference,
                "the recipe has no such parameter",
                suggestion(name, "parameters", names),
            );
        }
        value
    }

    /// A fact of the service that a parameter names; nothing where it names none.
    fn named(
        &mut self,
        reference: &Reference,
        name: &str,
        fact: &Fact,
        own: Own<'a>,
        outputs: Outputs,
    ) -> Option<String> {
        let value = self.parameter(reference, name, own)?;
        let parameters = own.service()?.recipe.iter().flat_map(|used| &used.recipe.parameters);
        let is_service = |one: &&Parameter| one.name == name && one.kind == ParameterKind::Service;
        if !parameters.into_iter().any(|one| is_service(&one)) {
            let label = format!("`{name}` is no parameter of the type `service`");
            return self.unknown(reference, &label, None);
        }
        if value.value.is_empty() {
            return Some(String::new());
        }
        let stack = self.stack;
        // A service that is not there has been told of already.
        let service = stack.services.iter().find(|one| one.name.as_str() == value.value)?;
        // What the service lacks is the matter of whoever named it.
        self.fact(&reference.told_at(&value.place), service, None, fact, outputs, false)
    }

    fn program(&mut self, reference: &Reference, name: &str, service: &'a ServiceDecl) -> Option<String> {
        let recipe = &service.recipe.as_ref()?.recipe;
        let Some(program) = recipe.programs.iter().find(|one| one.name == name) else {
            let names = recipe.programs.iter().map(|one| one.name.as_str());
            return self.unknown(
                reference,
                "the recipe has no such program",
                suggestion(name, "programs", names),
            );
        };
        let own = Own::Service(service);
        let mut dir = |dir: &Template| {
            let dir = self.text(dir, own);
            (!dir.is_empty()).then(|| below(&self.stack.dir, &dir))
        };
        let only = program.only.as_ref().and_then(&mut dir);
        let dirs: Vec<_> = match &only {
            Some(only) => vec![only.clone()],
            None => program.dirs.iter().filter_map(dir).collect(),
        };
        let Some((_, programs)) = self.given else { return Some(format!("/bin/{name}")) };
        let key = (service.name.clone(), name.to_owned());
        if let Some(path) = self.found.get(&key) {
            return Some(path.clone());
        }
        let found = match &only {
            Some(only) => programs.find(&format!("{only}/{name}"), &[]),
            None => programs.find(name, &dirs),
        };
        let Some(path) = found else {
            self.missing.get_or_insert_with(|| MissingProgram {
                program: name.to_owned(),
                packages: program.packages.clone(),
                searched: if only.is_some() { dirs } else { [dirs, vec!["PATH".to_owned()]].concat() },
            });
            return None;
        };
        self.keep_visible(&path);
        let path = path.to_string_lossy().into_owned();
        self.found.insert(key, path.clone());
        Some(path)
    }

    /// What `name` means before the first dot: a service, or one replica of it.
    fn service_or_replica(
        &mut self,
        reference: &Reference,
        name: &str,
    ) -> Option<(&'a ServiceDecl, Option<u16>)> {
        let stack = self.stack;
        if let Some(service) = stack.services.iter().find(|one| one.name.as_str() == name) {
            return Some((service, None));
        }
        if let Ok(replica) = ReplicaName::new(name)
            && let Some(service) = stack.services.iter().find(|one| one.name == replica.service())
        {
            let count = service.replicas.unwrap_or(1);
            if replica.number() <= count {
                return Some((service, Some(replica.number())));
            }
            let label =
                format!("`{}` has {count} replica{}", service.name, if count == 1 { "" } else { "s" });
            return self.unknown(reference, &label, None);
        }
        if stack.tasks.iter().any(|one| one.name.as_str() == name) {
            return self.unknown(
                reference,
                &format!("`{name}` is a task: it has no address and no outputs"),
                None,
            );
        }
        if let Some(profiles) =
            stack.inactive.iter().find(|(one, _)| one == name).map(|(_, profiles)| profiles)
        {
            let label = format!("`{name}` is there only with {}", of_profiles(profiles));
            return self.unknown(reference, &label, Some(ask_for(profiles)));
        }
        let hosts = stack.host_services.iter().map(|one| one.name.as_str());
        let names = stack.services.iter().map(|one| one.name.as_str()).chain(hosts);
        let words = ["self", "session", "env"];
        let near = nearest(name, names.clone().chain(words)).map(|near| format!("did you mean `{near}`?"));
        let help = near.or_else(|| suggestion(name, "services", names));
        self.unknown(reference, &format!("there is no service `{name}`"), help)
    }

    fn fact(
        &mut self,
        reference: &Reference,
        service: &'a ServiceDecl,
        number: Option<u16>,
        fact: &Fact,
        outputs: Outputs,
        is_own: bool,
    ) -> Option<String> {
        let name = match number {
            Some(number) => ReplicaName::of(&service.name, number).to_string(),
            None => service.name.to_string(),
        };
        if let (None, Fact::Port(_) | Fact::Addr(_) | Fact::Output(_)) = (number, fact)
            && !self.is_one_address(service)
        {
            let label = format!("in shared isolation every replica of `{name}` has ports of its own");
            let one = reference.written().replacen(&name, &format!("{name}-1"), 1);
            return self.unknown(reference, &label, Some(format!("name one replica: `{one}`")));
        }
        match fact {
            Fact::Name => Some(name),
            Fact::Host => Some(self.host(name)),
            Fact::Bind if is_own => Some(self.bind_address().to_string()),
            Fact::Bind => self.unknown(reference, "only a replica itself listens: `${self.bind}`", None),
            Fact::Index => match number {
                Some(number) => Some(number.to_string()),
                None => self.unknown(reference, "only a single replica has an index", None),
            },
            Fact::Data => {
                if let (true, Some(number)) = (is_own, number) {
                    if service.volumes.iter().any(|one| one.name == "data") {
                        let path = self.volume(service, number, "data");
                        return Some(path.to_string_lossy().into_owned());
                    }
                    let help = "declare it: `volume = true`".to_owned();
                    let label = format!("`{}` has no volume `data`", service.name);
                    return self.unknown(reference, &label, Some(help));
                }
                self.unknown(reference, "only a replica itself knows its data: `${self.data}`", None)
            }
            Fact::Port(port) => {
                self.port(reference, service, number, port.as_deref()).map(|port| port.to_string())
            }
            Fact::Addr(port) => {
                let port = self.port(reference, service, number, port.as_deref())?;
                Some(format!("{}:{port}", self.host(name)))
            }
            Fact::Each(_) if number.is_some() && !is_own => {
                let help = format!("`${{{}.each.…}}` asks every replica of the service", service.name);
                self.unknown(reference, &format!("`{name}` is a single replica"), Some(help))
            }
            Fact::Each(fact) => {
                let numbers = 1..=service.replicas.unwrap_or(1);
                let each =
                    numbers.map(|number| self.fact(reference, service, Some(number), fact, outputs, false));
                Some(each.collect::<Option<Vec<_>>>()?.join(","))
            }
            Fact::Output(name) => {
                let own = number.map_or(Own::Service(service), |number| Own::Replica(service, number));
                if outputs == Outputs::BeingMade {
                    return self.unknown(reference, "an output cannot be made of other outputs", None);
                }
                let is_of_one = output(service, name).is_some_and(|one| one.template.is_of_one_replica());
                if number.is_none() && is_of_one {
                    let help = format!(
                        "`${{{0}-1.{name}}}` is of one replica, `${{{0}.each.{name}}}` of all of them",
                        service.name
                    );
                    return self.unknown(reference, "only a single replica has this output", Some(help));
                }
                if let Some(text) = self.output(own, name) {
                    return Some(text);
                }
                let names = output_names(service);
                let words = names.iter().map(String::as_str).chain(["host", "port", "addr", "name", "bind"]);
                let help = suggestion(name, "it gives", words);
                self.unknown(reference, &format!("`{}` gives no `{name}`", service.name), help)
            }
        }
    }

    /// The output `name` of a service or of one of its replicas.
    pub(crate) fn output(&mut self, own: Own<'a>, name: &str) -> Option<String> {
        let service = own.service()?;
        if let Some(output) = output(service, name) {
            return Some(self.fill(&output.template, own, Outputs::BeingMade));
        }
        let port = http_port(service).filter(|_| name == "url")?;
        let (name, number) = match own {
            Own::Replica(_, number) => (ReplicaName::of(&service.name, number).to_string(), number),
            _ => (service.name.to_string(), 1),
        };
        Some(format!("http://{}:{}", self.host(name), self.port_of(service, number, port)))
    }

    /// The port of this name, or the first one.
    fn port(
        &mut self,
        reference: &Reference,
        service: &ServiceDecl,
        number: Option<u16>,
        name: Option<&str>,
    ) -> Option<u16> {
        let Some(name) = name else {
            let Some(port) = service.ports.first() else {
                let help = "declare one: `ports = { http = 8080 }`".to_owned();
                return self.unknown(reference, &format!("`{}` has no port", service.name), Some(help));
            };
            return Some(self.port_of(service, number.unwrap_or(1), port));
        };
        let port = service.ports.iter().find(|one| one.name.value == name);
        let port = port.map(|one| self.port_of(service, number.unwrap_or(1), one));
        if port.is_none() {
            let names = service.ports.iter().map(|one| one.name.value.as_str());
            let help = suggestion(name, "its ports", names);
            return self.unknown(reference, &format!("`{}` has no port `{name}`", service.name), help);
        }
        port
    }

    /// Notes a reference that has no value. Never gives one, so that callers can return it.
    pub(crate) fn unknown<T>(
        &mut self,
        reference: &Reference,
        label: &str,
        help: Option<String>,
    ) -> Option<T> {
        let message = format!("unknown reference `{}`", reference.written());
        self.faults.push(Fault::new(&reference.place, message, label).with_maybe_help(help));
        None
    }

    pub(crate) fn session_dir(&self) -> PathBuf {
        self.given.map_or_else(|| PathBuf::from("/session"), |(context, _)| context.session_dir.clone())
    }

    pub(crate) fn volume(&self, service: &ServiceDecl, number: u16, name: &str) -> PathBuf {
        let replica = ReplicaName::of(&service.name, number);
        self.session_dir().join("volumes").join(replica.as_str()).join(name)
    }
}

/// The port that makes a service have an `http://` address without a recipe.
fn http_port(service: &ServiceDecl) -> Option<&PortDecl> {
    let is_http = |name: &str, protocol| name == "http" && protocol == Protocol::Tcp;
    service.ports.iter().find(|one| is_http(&one.name.value, one.protocol))
}

/// The output `name` of a service's recipe.
pub(crate) fn output<'a>(service: &'a ServiceDecl, name: &str) -> Option<&'a Output> {
    let used = service.recipe.as_ref()?;
    used.recipe.outputs.iter().find(|one| one.name == name)
}

/// What a service tells others besides its names and ports.
pub(crate) fn output_names(service: &ServiceDecl) -> Vec<String> {
    let outputs = service.recipe.iter().flat_map(|used| &used.recipe.outputs);
    let mut names: Vec<_> = outputs.map(|one| one.name.clone()).collect();
    if http_port(service).is_some() && !names.iter().any(|name| name == "url") {
        names.push("url".to_owned());
    }
    names
}
