//! What isolation decides about a plan: addresses and ports, and what only a sealed session can carry out.

use std::net::Ipv4Addr;
use std::path::Path;

use belljar_model::ReplicaName;

use crate::declare::{PortDecl, ServiceDecl, StackDecl};
use crate::fault::Fault;
use crate::plan::{Isolation, PortPlan, PortWish};
use crate::planner::Planner;
use crate::reference::Template;
use crate::resolve::{Own, output_names};

/// Directories of a session in which generated files may lie that nothing but a mount could show elsewhere.
const OWN_DIRS: &[&str] = &["volumes", "files"];

impl<'a> Planner<'a> {
    /// The isolation of the session; while the stack is only checked, the one that the stack asks for.
    pub(crate) fn isolation(&self) -> Isolation {
        match self.given {
            Some((context, _)) if context.leased.is_some() => Isolation::Shared,
            Some(_) => Isolation::Sealed,
            None => self.stack.isolation.unwrap_or(Isolation::Sealed),
        }
    }

    /// The same address in every sealed session: they cannot see each other.
    pub(crate) fn address(&self, place: usize, number: u16) -> Ipv4Addr {
        let part = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
        match self.isolation() {
            Isolation::Sealed => Ipv4Addr::new(10, 77, part(place), part(number.into())),
            Isolation::Shared => Ipv4Addr::LOCALHOST,
        }
    }

    /// Where a replica listens so that the session reaches it and, in shared isolation, nobody elsewhere.
    pub(crate) fn bind_address(&self) -> Ipv4Addr {
        match self.isolation() {
            Isolation::Sealed => Ipv4Addr::UNSPECIFIED,
            Isolation::Shared => Ipv4Addr::LOCALHOST,
        }
    }

    /// By what a service or replica is reached.
    pub(crate) fn host(&self, name: String) -> String {
        match self.isolation() {
            Isolation::Sealed => name,
            Isolation::Shared => Ipv4Addr::LOCALHOST.to_string(),
        }
    }

    /// The number of a replica's port.
    pub(crate) fn port_of(&self, service: &ServiceDecl, number: u16, port: &PortDecl) -> u16 {
        let leased = self.given.and_then(|(context, _)| context.leased.as_ref());
        let replica = ReplicaName::of(&service.name, number);
        leased.and_then(|leased| leased.get(&replica, &port.name.value)).unwrap_or(port.port)
    }

    pub(crate) fn ports(&self, service: &ServiceDecl, number: u16) -> Vec<PortPlan> {
        let port = |one: &PortDecl| PortPlan {
            name: one.name.value.clone(),
            port: self.port_of(service, number, one),
            protocol: one.protocol,
            listen: one.listen,
        };
        service.ports.iter().map(port).collect()
    }

    /// Whether a service as a whole has one port of each name.
    pub(crate) fn is_one_address(&self, service: &ServiceDecl) -> bool {
        self.isolation() == Isolation::Sealed || service.replicas.unwrap_or(1) == 1
    }

    /// The URL of one replica, where its service has one.
    pub(crate) fn replica_url(&mut self, service: &'a ServiceDecl, number: u16) -> Option<String> {
        let has_url = output_names(service).iter().any(|name| name == "url");
        has_url.then(|| self.output(Own::Replica(service, number), "url"))?
    }

    /// Tells what shared isolation cannot carry out.
    pub(crate) fn check_isolation(&mut self) {
        if self.isolation() == Isolation::Sealed {
            return;
        }
        let stack = self.stack;
        for (place, key) in &stack.sealed_only {
            let label = "in shared isolation everything sees the host's files as they are";
            self.faults.push(Fault::new(place, format!("`{key}` needs a sealed session"), label));
        }
        for volume in stack.services.iter().flat_map(|service| &service.volumes) {
            if let Some((_, place)) = &volume.target {
                let message =
                    format!("the volume `{}` at a path of its own needs a sealed session", volume.name);
                let label = "in shared isolation nothing can be shown at another path";
                let help = "write `volume = true` and pass `${self.data}` to the service".to_owned();
                self.fault_at(place, message, label, Some(help));
            }
        }
    }

    /// A generated file has to lie where nothing else is, unless it can be mounted.
    pub(crate) fn check_file(&mut self, written: &Template, path: &Path) {
        let inside = path.strip_prefix(self.session_dir()).ok();
        let is_own = inside.is_some_and(|rest| {
            OWN_DIRS.iter().any(|dir| rest.starts_with(dir)) && rest.components().count() > 1
        });
        if self.isolation() == Isolation::Sealed || is_own {
            return;
        }
        let message = format!("the file `{}` needs a sealed session", path.display());
        let label = "in shared isolation a file can only lie in the session's directory";
        let help = "write `${self.data}/…` or `${session.dir}/files/…`, and tell the service".to_owned();
        self.fault_at(&written.place, message, label, Some(help));
    }
}

/// Every port that a session of the stack needs a lease for.
pub(crate) fn port_wishes(stack: &StackDecl) -> Vec<PortWish> {
    let mut wishes = Vec::new();
    for service in &stack.services {
        for number in 1..=service.replicas.unwrap_or(1) {
            wishes.extend(service.ports.iter().map(|one| PortWish {
                replica: ReplicaName::of(&service.name, number),
                port: one.name.value.clone(),
                protocol: one.protocol,
                listen: one.listen,
            }));
        }
    }
    wishes
}
