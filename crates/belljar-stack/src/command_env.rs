//! What commands of a session are told of its services, on top of their caller's environment.

use std::collections::BTreeMap;

use crate::plan::{HostServicePlan, ServicePlan};

/// `DB_HOST`, `DB_PORT`, `DB_ADDR`, `DB_URL` and `DB_REPLICAS` for every service, and `API_2_HOST` and so on for
/// every replica. What a service has not got as one thing is left out, so that nobody is told half of it: in
/// shared isolation each of several replicas has a port of its own, and the service none. Of a service of the host
/// it is told where to reach it.
pub(crate) fn command_env(
    services: &[ServicePlan],
    host_services: &[HostServicePlan],
) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    for one in host_services {
        tell(&mut env, &prefix(one.name.as_str()), one.host(), Some(one.port), None);
    }
    for service in services {
        let prefix = prefix(service.name.as_str());
        let names: Vec<_> = service.replicas.iter().map(|one| one.name.as_str()).collect();
        env.insert(format!("{prefix}_REPLICAS"), names.join(","));
        let is_local = service.replicas.iter().any(|one| one.address.is_loopback());
        let host = |name: &str| if is_local { "127.0.0.1".to_owned() } else { name.to_owned() };
        let ports: Vec<_> = service.replicas.iter().map(|one| &one.ports).collect();
        let port = service.ports.first().filter(|_| ports.windows(2).all(|two| two[0] == two[1]));
        let url = service.outputs.get("url");
        tell(&mut env, &prefix, &host(service.name.as_str()), port.map(|one| one.port), url);
        for one in &service.replicas {
            let port = one.ports.first().map(|one| one.port);
            let name = one.name.as_str();
            tell(&mut env, &self::prefix(name), &host(name), port, one.url.as_ref());
        }
    }
    env
}

fn tell(
    env: &mut BTreeMap<String, String>,
    prefix: &str,
    host: &str,
    port: Option<u16>,
    url: Option<&String>,
) {
    env.insert(format!("{prefix}_HOST"), host.to_owned());
    if let Some(port) = port {
        env.insert(format!("{prefix}_PORT"), port.to_string());
        let is_v6 = host.contains(':');
        let addr = if is_v6 { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        env.insert(format!("{prefix}_ADDR"), addr);
    }
    if let Some(url) = url {
        env.insert(format!("{prefix}_URL"), url.clone());
    }
}

fn prefix(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}
