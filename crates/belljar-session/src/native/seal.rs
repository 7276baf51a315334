//! From a plan to what the sandbox has to make.

use belljar_sandbox::spec::{Filesystem, NetworkSpec, SessionSpec};
use belljar_stack::plan;

use super::dns::Names;
use super::etc;
use crate::session::Config;

/// The seal of a session, ready to be made.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) spec: SessionSpec,
    pub(crate) names: Names,
}

/// Decides what is visible, what is writable, and who knows whom.
pub(crate) fn seal(config: &Config, processes: u32) -> std::io::Result<Sealed> {
    let plan = &config.plan;
    let names = Names::of(plan, config.name.as_str());
    let identity = belljar_sandbox::identity();
    let etc = etc::files(&names, plan.address, identity, &config.user)?;
    let spec = SessionSpec {
        hostname: config.name.to_string(),
        network: network(plan),
        filesystem: match plan.filesystem {
            plan::Filesystem::Host => Filesystem::Host,
            plan::Filesystem::ReadOnly => Filesystem::ReadOnly,
            plan::Filesystem::Overlay => Filesystem::Overlay,
        },
        private_home: match plan.home {
            plan::Home::Host => None,
            plan::Home::Private => Some(config.user.home.clone()),
        },
        keep: vec![plan.dir.clone()],
        keep_if_present: config.shown(),
        writable: config.own_dirs(),
        concealed: config.concealed.clone(),
        processes,
        etc,
    };
    Ok(Sealed { spec, names })
}

/// The network of every session of a plan.
pub fn network(plan: &plan::Plan) -> NetworkSpec {
    NetworkSpec {
        address: plan.address,
        prefix: plan.prefix,
        replicas: plan.replicas().map(|replica| replica.address).collect(),
        host_services: plan.host_services.iter().filter_map(|service| service.address).collect(),
    }
}
