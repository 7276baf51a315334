//! What a session in shared isolation has instead of networks and mounts of its own: leased ports of the host, and
//! files at their real places.

mod files;
mod ports;

use std::sync::Arc;

use belljar_model::{ErrorCode, ReplicaName};
use belljar_stack::plan::{LeasedPorts, Plan};
use belljar_stack::{Context, PlanError, Programs, Stack};

pub(crate) use files::{place_files, private_dir};
use ports::Ports;
pub(crate) use ports::TakenPort;
pub use ports::{LeaseError, PortLeases, PortRange, candidates};

/// Where a session in shared isolation stands: its ports, and how it is planned with others.
#[derive(Clone)]
pub struct Ground {
    pub(crate) ports: Arc<Ports>,
    replan: Arc<dyn Fn(LeasedPorts) -> Result<Plan, String> + Send + Sync>,
}

impl std::fmt::Debug for Ground {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ground").field("ports", &self.ports).finish_non_exhaustive()
    }
}

/// Why a session in shared isolation could not be planned.
#[derive(Debug, thiserror::Error)]
pub enum GroundError {
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("cannot lease ports for the session")]
    Ports(#[from] LeaseError),
}

impl GroundError {
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Plan(error) => error.code(),
            Self::Ports(error) => error.code,
        }
    }
}

/// Leases the ports that the stack needs, and plans it with them. `candidates` are tried in their order.
pub fn prepare(
    stack: &Arc<Stack>,
    context: Context,
    programs: Arc<dyn Programs + Send + Sync>,
    leases: Arc<dyn PortLeases>,
    candidates: Vec<u16>,
) -> Result<(Plan, Ground), GroundError> {
    let ports = Ports::lease(stack.port_wishes(), leases, candidates)?;
    let planned = Context { leased: Some(ports.leased()), ..context };
    let plan = stack.plan(&planned, &*programs)?;
    let stack = Arc::clone(stack);
    let replan = move |leased| {
        let context = Context { leased: Some(leased), ..planned.clone() };
        stack.plan(&context, &*programs).map_err(|error| error.to_string())
    };
    Ok((plan, Ground { ports: Arc::new(ports), replan: Arc::new(replan) }))
}

impl Ground {
    /// Another port in the place of one that somebody else has got, and the plan with it.
    pub(crate) fn exchange(&self, replica: &ReplicaName, port: &str) -> Result<(u16, Plan), String> {
        let number = self.ports.exchange(replica, port).map_err(|error| error.to_string())?;
        let plan = (self.replan)(self.ports.leased())?;
        Ok((number, plan))
    }
}
