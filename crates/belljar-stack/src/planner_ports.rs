//! Planning what goes through the seal on purpose: ports shown on the host, and services of the host.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::declare::{HostServiceDecl, PublishDecl, ServiceDecl};
use crate::fault::Fault;
use crate::near::suggestion;
use crate::plan::{HostPort, HostServicePlan, Isolation, PortPlan, Protocol, PublishPlan};
use crate::planner::Planner;
use crate::reference::{Fact, Reference, Template};
use crate::resolve::Own;

/// As many addresses as are kept for them.
const MAX_HOST_SERVICES: usize = 254;

impl<'a> Planner<'a> {
    pub(crate) fn publish(&mut self, service: &ServiceDecl) -> Vec<PublishPlan> {
        service.publish.iter().filter_map(|one| self.publish_one(service, one)).collect()
    }

    fn publish_one(&mut self, service: &ServiceDecl, publish: &PublishDecl) -> Option<PublishPlan> {
        let name = &publish.port.value;
        let Some(port) = service.ports.iter().find(|one| one.name.value == *name) else {
            let names = service.ports.iter().map(|one| one.name.value.as_str());
            let help = suggestion(name, "its ports", names);
            let message = format!("`{}` has no port `{name}`", service.name);
            self.fault_at(&publish.port.place, message, "only a port of the service can be published", help);
            return None;
        };
        let port = PortPlan {
            name: name.clone(),
            port: self.port_of(service, 1, port),
            protocol: port.protocol,
            listen: port.listen,
        };
        Some(PublishPlan { port, fixed: publish.fixed.as_ref().map(|(number, _)| *number), on: publish.on })
    }

    /// One number of the host is for one port alone.
    pub(crate) fn check_published(&mut self) {
        let mut seen: BTreeMap<(u16, bool), &'a crate::source::Place> = BTreeMap::new();
        for service in &self.stack.services {
            for publish in &service.publish {
                let Some((number, place)) = &publish.fixed else { continue };
                let port = service.ports.iter().find(|one| one.name.value == publish.port.value);
                let Some(port) = port else { continue };
                if let Some(first) = seen.insert((*number, port.protocol == Protocol::Udp), place) {
                    let message = format!("port {number} of the host is asked for twice");
                    let fault = Fault::new(place, message, "only one can have it");
                    self.faults.push(fault.also(first, "the first one"));
                }
            }
        }
    }

    pub(crate) fn host_services(&mut self) -> Vec<HostServicePlan> {
        let stack = self.stack;
        if let Some(service) = stack.host_services.get(MAX_HOST_SERVICES) {
            let label = format!("a session has addresses for {MAX_HOST_SERVICES} of them");
            self.faults.push(Fault::new(&service.place, "too many services of the host", label));
        }
        (1..=u8::MAX)
            .zip(&stack.host_services)
            .filter_map(|(place, one)| self.plan_host_service(place, one))
            .collect()
    }

    fn plan_host_service(&mut self, place: u8, service: &'a HostServiceDecl) -> Option<HostServicePlan> {
        let stack = self.stack;
        let name = service.name.as_str();
        let same =
            stack.services.iter().find(|one| one.name.as_str() == name).map(|one| (&one.place, "service"));
        let task = stack.tasks.iter().find(|one| one.name.as_str() == name).map(|one| (&one.place, "task"));
        if let Some((other, what)) = same.or(task) {
            let message = format!("`{name}` is both a service of the host and a {what} of the stack");
            self.faults.push(
                Fault::new(&service.place, message, "one name means one thing in a session")
                    .also(other, format!("the {what}")),
            );
            return None;
        }
        let target = self.target(&service.to)?;
        // Beyond those of the services, which are fewer than 255.
        let address = Ipv4Addr::new(10, 77, 255, place);
        let is_sealed = self.isolation() == Isolation::Sealed;
        Some(HostServicePlan {
            name: service.name.clone(),
            address: is_sealed.then_some(address),
            port: service.port.filter(|_| is_sealed).unwrap_or(target.port),
            target,
        })
    }

    fn target(&mut self, to: &Template) -> Option<HostPort> {
        let faults = self.faults.len();
        let text = self.text(to, Own::Suite);
        let target = text.parse::<HostPort>();
        if self.faults.len() > faults {
            return None;
        }
        match target {
            Ok(target) => Some(target),
            // What the host's variables are is not known to a check.
            Err(_) if self.given.is_none() => Some(HostPort { host: "host".to_owned(), port: 1 }),
            Err(error) => {
                self.fault_at(&to.place, format!("`{text}` is no address"), error.to_string(), None);
                None
            }
        }
    }

    pub(crate) fn host_service(&self, name: &str) -> Option<&'a HostServiceDecl> {
        self.stack.host_services.iter().find(|one| one.name.as_str() == name)
    }

    /// What a text learns of a service of the host.
    pub(crate) fn fact_of_host_service(
        &mut self,
        reference: &Reference,
        name: &str,
        fact: &Fact,
    ) -> Option<String> {
        let service = self.host_service(name)?;
        let target = self.target(&service.to)?;
        let (host, port, addr) = match self.isolation() {
            Isolation::Sealed => {
                let port = service.port.unwrap_or(target.port);
                (name.to_owned(), port, format!("{name}:{port}"))
            }
            Isolation::Shared => (target.host.clone(), target.port, target.to_string()),
        };
        match fact {
            Fact::Name => Some(name.to_owned()),
            Fact::Host => Some(host),
            Fact::Port(None) => Some(port.to_string()),
            Fact::Addr(None) => Some(addr),
            _ => {
                let help = format!("write `${{{name}.host}}`, `${{{name}.port}}` or `${{{name}.addr}}`");
                self.unknown(reference, "a service of the host has one port, without a name", Some(help))
            }
        }
    }
}
