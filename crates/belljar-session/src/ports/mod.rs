//! What goes through the seal on purpose: ports of the session that are shown on the host, and services of the
//! host that have a name in the session.
//!
//! A published port is a listener on the host that is bound before anything of the session starts and held until
//! its end. What comes in is carried to a replica through a socket that the session's init makes inside. Before
//! that it is looked whether the replica runs: whoever asks for one that does not is told so at once.

mod bind;
mod datagrams;
mod door;
mod gate;
mod holder;
mod host_service;
mod refusal;
mod relay;
mod turn;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;

use belljar_model::{EventKind, ReplicaName, ReplicaState, ServiceName};
use belljar_stack::plan::{HostServicePlan, Plan, PortPlan, Protocol, PublishPlan, ServicePlan};

pub use bind::PortError;
pub(crate) use bind::{Bound, bind};
pub(crate) use door::Door;
pub(crate) use gate::{Gate, Gates};
pub use holder::Holder;
pub(crate) use host_service::HostService;

/// What can be reached from the host and what of the host can be reached, as the session tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Openings {
    pub published: Vec<PublishedPort>,
    pub host_services: Vec<HostServicePlan>,
    /// Where its metrics are served.
    pub metrics: Option<String>,
}

/// A port of the host that leads into the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedPort {
    pub service: ServiceName,
    /// Where it leads to one replica alone, of several.
    pub replica: Option<ReplicaName>,
    /// The port's name.
    pub port: String,
    pub protocol: Protocol,
    /// The number on the host.
    pub number: u16,
    /// Where it is listened on.
    pub addresses: Vec<SocketAddr>,
}

/// How a replica stands, as far as it concerns those who want to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub service: ServiceName,
    pub replica: ReplicaName,
    /// Where it is reached inside. Numbers of ports may change while the session lives.
    pub address: Ipv4Addr,
    pub ports: Vec<PortPlan>,
    pub state: ReplicaState,
    /// It is on its way up again, or will be.
    pub restarting: bool,
}

/// How the published ports of a session are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// As the stack asks for them.
    Asked,
    /// Any that are free: many sessions of the stack live at once.
    Free,
}

impl Standing {
    /// Where this port of it is, if it has one of the name.
    pub(crate) fn address_of(&self, port: &str) -> Option<SocketAddrV4> {
        let port = self.ports.iter().find(|one| one.name == port)?;
        Some(SocketAddrV4::new(self.address, port.port))
    }
}

impl Openings {
    /// Whether anybody comes in who has to be led to a replica.
    pub(crate) fn lead_anywhere(&self) -> bool {
        !self.published.is_empty()
    }

    /// The ports of a service, or of one replica of it: the service's own, where it is the only one.
    pub(crate) fn published_for(
        &self,
        service: &ServiceName,
        replica: Option<&ReplicaName>,
        only: bool,
    ) -> BTreeMap<String, u16> {
        let is_meant =
            |one: &&PublishedPort| one.service == *service && (only || one.replica.as_ref() == replica);
        self.published.iter().filter(is_meant).map(|one| (one.port.clone(), one.number)).collect()
    }

    /// What the timeline says of them.
    pub(crate) fn events(&self) -> Vec<EventKind> {
        let published = self.published.iter().map(|one| EventKind::PortPublished {
            service: one.service.clone(),
            replica: one.replica.clone(),
            port: one.port.clone(),
            protocol: protocol_name(one.protocol).to_owned(),
            addresses: one.addresses.iter().map(ToString::to_string).collect(),
        });
        let host_services = self.host_services.iter().filter_map(|one| {
            Some(EventKind::HostServiceOpened {
                name: one.name.clone(),
                address: format!("{}:{}", one.address?, one.port),
                target: one.target.to_string(),
            })
        });
        let metrics = self.metrics.iter().map(|url| EventKind::MetricsServed { url: url.clone() });
        published.chain(host_services).chain(metrics).collect()
    }
}

/// A port that is to be bound.
struct Wish<'a> {
    service: &'a ServicePlan,
    replica: Option<&'a ReplicaName>,
    publish: &'a PublishPlan,
    number: Option<u16>,
}

/// Binds every port that the plan publishes. Nothing of the session exists yet.
pub(crate) fn bind_all(plan: &Plan, numbers: Numbers) -> Result<Vec<Gate>, PortError> {
    let wishes = wishes(plan, numbers);
    let mut gates: Vec<_> = wishes.iter().map(|_| None).collect();
    // Those that are asked for by number come first: none of the others may have been given it.
    let (asked, any): (Vec<_>, Vec<_>) =
        wishes.into_iter().enumerate().partition(|(_, wish)| wish.number.is_some());
    for (place, Wish { service, replica, publish, number }) in asked.into_iter().chain(any) {
        let name = replica.map_or(service.name.as_str(), ReplicaName::as_str);
        let what = format!("{name}:{}", publish.port.name);
        let bound = bind(publish.port.protocol, publish.on, number, &what)?;
        gates[place] = Some(Gate::new(service, replica, publish, bound));
    }
    Ok(gates.into_iter().flatten().collect())
}

/// One port for each that is published, and where there are several replicas, one for each of them besides.
fn wishes(plan: &Plan, numbers: Numbers) -> Vec<Wish<'_>> {
    let mut wishes = Vec::new();
    for service in &plan.services {
        for publish in &service.publish {
            let number = publish.fixed.filter(|_| numbers == Numbers::Asked);
            wishes.push(Wish { service, replica: None, publish, number });
            let each = service.replicas.iter().filter(|_| service.replicas.len() > 1);
            wishes.extend(each.map(|replica| Wish {
                service,
                replica: Some(&replica.name),
                publish,
                number: None,
            }));
        }
    }
    wishes
}

/// The openings of a plan, with the gates that were bound for it.
pub(crate) fn openings(plan: &Plan, gates: &[Gate], metrics: Option<String>) -> Arc<Openings> {
    Arc::new(Openings {
        published: gates.iter().map(|gate| gate.shown().clone()).collect(),
        host_services: plan.host_services.clone(),
        metrics,
    })
}

fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// `api-NUMBER` in this state.
    pub(crate) fn standing(number: u16, state: ReplicaState) -> Standing {
        let service = ServiceName::new("api").expect("a name");
        Standing {
            replica: ReplicaName::of(&service, number),
            service,
            address: Ipv4Addr::LOCALHOST,
            ports: Vec::new(),
            state,
            restarting: false,
        }
    }
}
