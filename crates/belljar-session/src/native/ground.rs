//! What a replica stands on: its ports and, where nothing can be mounted for it, its files.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use belljar_sandbox::spec::SocketSpec;
use belljar_stack::plan::ReplicaPlan;

use super::{Shared, connection};
use crate::machine::{ReplicaIndex, Report};
use crate::shared::{self, TakenPort};

/// Why a replica does not get its ports.
pub(super) enum NoPort {
    Taken(TakenPort),
    Refused(String),
}

impl Shared {
    /// Leases another port for a replica that does not run.
    pub(super) fn change_port(&self, replica: ReplicaIndex, generation: u32, port: String) {
        let Some(ground) = &self.ground else { return };
        let _alone = self.changing.lock().expect("no panic while it is held");
        let old = self.defined.replica(replica);
        let from = old.ports.iter().find(|one| one.name == port).map_or(0, |one| one.port);
        let result = ground.exchange(&old.name, &port).map(|(to, plan)| {
            let plan = Arc::new(plan);
            self.defined.replan(&plan);
            (from, to, plan)
        });
        self.report(Report::PortChanged { replica, generation, port, result });
    }

    /// Lets a replica have its ports; listeners among them are passed to it.
    pub(super) async fn hand_over_ports(
        &self,
        replica: ReplicaIndex,
        plan: &ReplicaPlan,
    ) -> Result<Vec<(String, OwnedFd)>, NoPort> {
        if let Some(ground) = &self.ground {
            return ground.ports.hand_over(&plan.name).map_err(NoPort::Taken);
        }
        let mut listeners = Vec::new();
        for port in plan.ports.iter().filter(|port| port.listen) {
            let place = connection::place(replica);
            let spec = SocketSpec::TcpListening(place, Ipv4Addr::UNSPECIFIED, port.port);
            let socket = self.connection.socket(spec).await;
            let socket = socket.map_err(|error| NoPort::Refused(error.to_string()))?;
            // Programs expect one that waits.
            rustix::io::ioctl_fionbio(&socket, false).map_err(|error| NoPort::Refused(error.to_string()))?;
            listeners.push((port.name.clone(), socket));
        }
        Ok(listeners)
    }

    /// Takes the ports of a replica that has ended back; one that somebody else has got.
    pub(super) fn take_ports_back(&self, plan: &ReplicaPlan) -> Option<TakenPort> {
        self.ground.as_ref().and_then(|ground| ground.ports.hold(&plan.name).err())
    }

    /// In shared isolation: its own directory for temporary files, and generated files at their places.
    pub(super) fn prepare_files(&self, plan: &ReplicaPlan) -> std::io::Result<()> {
        if self.is_sealed() {
            return Ok(());
        }
        if let Some(tmp) = plan.env.get("TMPDIR") {
            shared::private_dir(Path::new(tmp))?;
        }
        for volume in &plan.volumes {
            shared::private_dir(&volume.source)?;
        }
        shared::place_files(&plan.files)
    }
}
