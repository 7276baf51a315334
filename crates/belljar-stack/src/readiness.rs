//! What makes a replica ready: the names of ports become numbers, and what was not said is decided.

use std::path::Path;
use std::time::Duration;

use crate::declare::{CheckDecl, ReadyDecl, ServiceDecl};
use crate::near::suggestion;
use crate::plan::{Check, Protocol, ReadyPlan};
use crate::planner::Planner;
use crate::resolve::Own;
use crate::source::Text;

const WITHIN: Duration = Duration::from_secs(30);

impl<'a> Planner<'a> {
    pub(crate) fn ready(&mut self, service: &'a ServiceDecl, number: u16, cwd: &Path) -> ReadyPlan {
        let declared = service.ready.as_ref();
        let check = match declared.and_then(|ready| Some((ready, ready.check.as_ref()?))) {
            Some((ready, check)) => self.check_of(service, number, cwd, ready, check),
            None => self.default_check(service, number),
        };
        ReadyPlan {
            check,
            within: declared.and_then(|ready| ready.within).unwrap_or(WITHIN),
            stable: declared.and_then(|ready| ready.stable).unwrap_or_default(),
        }
    }

    fn check_of(
        &mut self,
        service: &'a ServiceDecl,
        number: u16,
        cwd: &Path,
        ready: &ReadyDecl,
        check: &CheckDecl,
    ) -> Check {
        let own = Own::Replica(service, number);
        match check {
            CheckDecl::Tcp(None) => {
                let ports = self.tcp_ports(service, number);
                if ports.is_empty() {
                    let message = format!("`{}` has no TCP port", service.name);
                    self.fault_at(&ready.place, message, "this waits for every one of them", None);
                }
                Check::Tcp { ports }
            }
            CheckDecl::Tcp(Some(names)) => Check::Tcp {
                ports: names.iter().filter_map(|name| self.tcp_port(service, number, name)).collect(),
            },
            CheckDecl::Http { path, port, status, body } => Check::Http {
                port: self.http_port(service, number, ready, port.as_ref()).unwrap_or_default(),
                path: self.text(path, own),
                status: *status,
                body: body.clone(),
            },
            CheckDecl::Exec(command) => Check::Exec { argv: self.argv(Some(command), own, cwd) },
            CheckDecl::Log(pattern) => Check::Log { pattern: pattern.clone() },
            CheckDecl::Notify => Check::Notify,
            CheckDecl::File(path) => Check::File { path: cwd.join(self.text(path, own)) },
            CheckDecl::Socket(path) => Check::Socket { path: cwd.join(self.text(path, own)) },
        }
    }

    fn tcp_port(&mut self, service: &ServiceDecl, number: u16, name: &Text) -> Option<u16> {
        let Some(port) = service.ports.iter().find(|one| one.name.value == name.value) else {
            let names = service.ports.iter().map(|one| one.name.value.as_str());
            let help = suggestion(&name.value, "its ports", names);
            let message = format!("`{}` has no port `{}`", service.name, name.value);
            self.fault_at(&name.place, message, "expected the name of a port", help);
            return None;
        };
        if port.protocol == Protocol::Udp {
            let message = format!("`{}` is a UDP port", name.value);
            self.fault_at(&name.place, message, "nothing tells whether somebody listens there", None);
            return None;
        }
        Some(self.port_of(service, number, port))
    }

    /// The port that was named, else `http`, else the only one.
    fn http_port(
        &mut self,
        service: &ServiceDecl,
        number: u16,
        ready: &ReadyDecl,
        name: Option<&Text>,
    ) -> Option<u16> {
        if let Some(name) = name {
            return self.tcp_port(service, number, name);
        }
        let named =
            service.ports.iter().find(|one| one.name.value == "http" && one.protocol == Protocol::Tcp);
        let port = named.map(|one| self.port_of(service, number, one));
        let port = port.or_else(|| match self.tcp_ports(service, number)[..] {
            [only] => Some(only),
            _ => None,
        });
        if port.is_none() {
            let message = format!("which port of `{}` is meant?", service.name);
            let help = if service.ports.is_empty() {
                "declare it: `ports = { http = 8080 }`"
            } else {
                "write `port = \"NAME\"`"
            };
            self.fault_at(
                &ready.place,
                message,
                "expected `port`, the name of a TCP port",
                Some(help.to_owned()),
            );
        }
        port
    }

    fn default_check(&self, service: &ServiceDecl, number: u16) -> Check {
        match self.tcp_ports(service, number) {
            ports if ports.is_empty() => Check::Started,
            ports => Check::Tcp { ports },
        }
    }

    fn tcp_ports(&self, service: &ServiceDecl, number: u16) -> Vec<u16> {
        let tcp = service.ports.iter().filter(|one| one.protocol == Protocol::Tcp);
        tcp.map(|one| self.port_of(service, number, one)).collect()
    }
}
