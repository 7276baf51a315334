//! Plans for the tests of this crate.

use std::path::Path;

use belljar_model::StackName;
use belljar_stack::plan::{Filesystem, Home, Plan, Requires, SuitePlan};

pub(crate) fn plan(dir: &Path, suites: Vec<SuitePlan>) -> Plan {
    Plan {
        isolation: belljar_stack::plan::Isolation::Sealed,
        stack: StackName::new("stack").unwrap(),
        dir: dir.to_owned(),
        filesystem: Filesystem::Host,
        home: Home::Host,
        limits: belljar_stack::plan::Limits::default(),
        services: Vec::new(),
        tasks: Vec::new(),
        suites,
        order: Vec::new(),
        address: std::net::Ipv4Addr::LOCALHOST,
        prefix: 24,
        command_env: std::collections::BTreeMap::new(),
        program_dirs: Vec::new(),
        host_services: Vec::new(),
        host_env: std::collections::BTreeMap::new(),
    }
}

pub(crate) fn suite(name: &str, scenarios: &str) -> SuitePlan {
    SuitePlan {
        name: name.to_owned(),
        scenarios: scenarios.to_owned(),
        tags: Vec::new(),
        timeout: std::time::Duration::from_mins(1),
        retries: 0,
        env: std::collections::BTreeMap::new(),
        exclusive: false,
        weight: 1,
        requires: Requires::default(),
        setup: None,
        home: None,
    }
}
