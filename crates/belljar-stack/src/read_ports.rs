//! From TOML to declarations: what goes through the seal on purpose, ports shown on the host and services of the
//! host.

use toml::de::DeValue;

use crate::declare::{HostServiceDecl, PublishDecl};
use crate::fault::Fault;
use crate::keys::Level;
use crate::plan::{HostPort, Interfaces};
use crate::reference::{Author, Part, Reference, Subject, Template};
use crate::walk::{Entry, Node, Walk};

pub(crate) const INTERFACES: &[(&str, Interfaces)] =
    &[("loopback", Interfaces::Loopback), ("all", Interfaces::All)];

impl Walk {
    /// `["http"]`, `{ http = 18080 }` or `{ http = { port = 18080, on = "all" } }`.
    pub(crate) fn publish(&mut self, node: &Node<'_>) -> Vec<PublishDecl> {
        let expected = "a list of ports such as [\"http\"], or a table such as { http = 18080 }";
        if matches!(node.value, DeValue::Array(_)) {
            let mut all: Vec<PublishDecl> = Vec::new();
            for port in self.strings(node, expected).unwrap_or_default() {
                if let Some(first) = all.iter().find(|one| one.port.value == port.value) {
                    let fault = Fault::new(
                        &port.place,
                        format!("`{}` is published twice", port.value),
                        "expected once",
                    );
                    self.faults.push(fault.also(&first.port.place, "the first one"));
                } else {
                    all.push(PublishDecl { port, fixed: None, on: Interfaces::Loopback });
                }
            }
            return all;
        }
        let entries = self.table(node, expected).map(|table| table.list).unwrap_or_default();
        entries.into_iter().filter_map(|entry| self.published(entry)).collect()
    }

    fn published(&mut self, entry: Entry<'_>) -> Option<PublishDecl> {
        let Entry { key: port, value } = entry;
        if !matches!(value.value, DeValue::Table(_)) {
            let fixed = self.number(&value, 1..=u16::MAX)?;
            return Some(PublishDecl { port, fixed: Some((fixed, value.place)), on: Interfaces::Loopback });
        }
        let table =
            self.keyed_table(&value, Level::Publish, "a table such as { port = 18080, on = \"all\" }")?;
        let fixed =
            table.get("port").and_then(|node| Some((self.number(node, 1..=u16::MAX)?, node.place.clone())));
        let on = table.get("on").and_then(|node| self.choice(Level::Publish, "on", node, INTERFACES));
        Some(PublishDecl { port, fixed, on: on.unwrap_or(Interfaces::Loopback) })
    }

    /// `{ registry = "127.0.0.1:5000" }` or `{ registry = { to = "127.0.0.1:15000", port = 5000 } }`.
    pub(crate) fn host_services(&mut self, node: &Node<'_>) -> Vec<HostServiceDecl> {
        let expected = "a table of addresses by name, as in { registry = \"127.0.0.1:5000\" }";
        let entries = self.table(node, expected).map(|table| table.list).unwrap_or_default();
        entries.into_iter().filter_map(|entry| self.host_service(entry)).collect()
    }

    fn host_service(&mut self, entry: Entry<'_>) -> Option<HostServiceDecl> {
        let Entry { key, value } = entry;
        let name = self.service_name(&key);
        let (to, port) = match value.value {
            DeValue::Table(_) => {
                let example = "a table such as { to = \"127.0.0.1:15000\", port = 5000 }";
                let table = self.keyed_table(&value, Level::HostService, example)?;
                let Some(to) = table.get("to").cloned() else {
                    self.fault(&value.place, "a service of the host without its address", "expected `to`");
                    return None;
                };
                (to, table.get("port").and_then(|node| self.number(node, 1..=u16::MAX)))
            }
            _ => (value, None),
        };
        let text = self.string(&to, "a string such as \"127.0.0.1:5000\"")?;
        let template = Template::parse(&text, Author::Stack, &mut self.faults);
        for part in &template.parts {
            if let Part::Reference(reference @ Reference { subject, place, .. }) = part
                && !matches!(subject, Subject::Host(_))
            {
                let message = format!("`{}` is nothing that the host knows", reference.written());
                self.fault(place, message, "the address is one of the host; it takes `${env.NAME}` alone");
            }
        }
        let written = template.parts.iter().all(|part| matches!(part, Part::Literal(_)));
        if written && let Err(error) = text.value.parse::<HostPort>() {
            self.fault(&text.place, format!("`{}` is no address", text.value), error.to_string());
            return None;
        }
        Some(HostServiceDecl { name: name?, place: key.place, to: template, port })
    }
}
