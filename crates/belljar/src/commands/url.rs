//! `url`: where a service or replica is reached. On the host that is a published port, inside of the session its own.

use belljar_client::wire::{ReplicaView, ServiceView};
use belljar_model::{ErrorCode, ExitCode};

use super::ps::view_of;
use crate::app::App;
use crate::error::{CliError, Result};

const LOOPBACK: &str = "127.0.0.1";

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  curl $(belljar url web)\n  belljar run -- sh -c 'curl $(belljar url web-2:http)'"
)]
pub(crate) struct Args {
    /// A service or one replica of it, and a port by name where it has several
    #[arg(value_name = "SERVICE[-N][:PORT]")]
    service: String,
    /// Where it is reached from inside of the session, although we are outside
    #[arg(long)]
    inside: bool,
}

pub(crate) async fn run(app: &App, args: &Args) -> Result<ExitCode> {
    let (name, port) = match args.service.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (args.service.as_str(), None),
    };
    let inside = args.inside || app.is_inside();
    let view = view_of(app).await?;
    for (service_name, service) in &view.services {
        let replica = service.replicas.iter().find(|one| one.name.as_str() == name);
        if service_name.as_str() == name || replica.is_some() {
            // In shared isolation the session's own ports are the host's.
            let is_shared = service.replicas.iter().any(|one| one.host == LOOPBACK);
            let url = if inside || is_shared && service.published.is_empty() {
                url(name, service_name.as_str(), service, replica, port)?
            } else {
                published(name, service_name.as_str(), service, port)?
            };
            if app.printer.json {
                app.printer.document(&serde_json::json!({ "url": url }))?;
            } else {
                app.printer.out(&format!("{url}\n"))?;
            }
            return Ok(ExitCode::OK);
        }
    }
    let names: Vec<String> = view.services.keys().map(ToString::to_string).collect();
    let message = format!("session {} has no service or replica `{name}`", view.name);
    Err(CliError::new(ErrorCode::ReplicaNotFound, message)
        .hint(format!("its services are {}", names.join(", "))))
}

/// What to open on the host.
fn published(name: &str, service_name: &str, service: &ServiceView, port: Option<&str>) -> Result<String> {
    let ports = service.replicas.first().map(|one| &one.ports);
    let known = |port: &str| ports.is_some_and(|ports| ports.contains_key(port));
    let wanted = match port {
        Some(port) if known(port) => Some(port),
        Some(_) => None,
        // The one that its URL is about, else the only one.
        None => port_of_url(service).filter(|port| service.published.contains_key(*port)).or_else(|| {
            let mut all = service.published.keys().map(String::as_str);
            all.next().filter(|_| all.next().is_none())
        }),
    };
    if let Some(port) = wanted
        && let Some(url) = on_the_host(service, name, port)
    {
        return Ok(url);
    }
    if let Some(port) = port.filter(|port| !known(port)) {
        return Err(no_port(service_name, Some(port), ports));
    }
    if port.is_none() && service.published.len() > 1 {
        let names: Vec<&str> = service.published.keys().map(String::as_str).collect();
        let message = format!("service {service_name} has several published ports");
        return Err(CliError::new(ErrorCode::PortNotFound, message).hint(format!(
            "they are {}: `belljar url {name}:{}`",
            names.join(", "),
            names[0]
        )));
    }
    let Some(example) = port.or_else(|| ports?.keys().next().map(String::as_str)) else {
        return Err(no_port(service_name, None, ports));
    };
    let what = port.map_or_else(|| format!("no port of {name}"), |port| format!("port `{port}` of {name}"));
    let verb = if port.is_some() { "is not published" } else { "is published" };
    Err(CliError::new(ErrorCode::PortNotPublished, format!("{what} {verb} on the host"))
        .hint(format!("`publish = [\"{example}\"]` in `[service.{service_name}]` does that"))
        .hint("inside of the session it can be reached: `belljar url --inside`, `belljar exec -- CMD`"))
}

/// A published port of a service or replica, as a URL where it is known what is spoken there.
pub(crate) fn on_the_host(service: &ServiceView, name: &str, port: &str) -> Option<String> {
    let replica = service.replicas.iter().find(|one| one.name.as_str() == name);
    let number = replica.map_or(&service.published, |replica| &replica.published).get(port)?;
    let address = format!("127.0.0.1:{number}");
    let url = service.urls.get(port).and_then(|url| UrlParts::of(url));
    Some(url.map_or_else(|| address.clone(), |url| url.with(&address)))
}

/// The port that the service's own URL is about.
fn port_of_url(service: &ServiceView) -> Option<&str> {
    let url = service.url.as_ref()?;
    service.urls.iter().find(|(_, one)| *one == url).map(|(name, _)| name.as_str())
}

/// A URL taken apart around the one server that it names.
struct UrlParts<'a> {
    before: &'a str,
    after: &'a str,
}

impl<'a> UrlParts<'a> {
    /// Nothing, where it names several servers or no port.
    fn of(url: &'a str) -> Option<Self> {
        let start = url.find("://")? + 3;
        let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |end| start + end);
        let authority = &url[start..end];
        let host = authority.rfind('@').map_or(0, |at| at + 1);
        let (_, port) = authority[host..].split_once(':')?;
        port.parse::<u16>().ok()?;
        Some(Self { before: &url[..start + host], after: &url[end..] })
    }

    fn with(&self, address: &str) -> String {
        format!("{}{address}{}", self.before, self.after)
    }
}

/// Where it is reached inside.
fn url(
    name: &str,
    service_name: &str,
    service: &ServiceView,
    replica: Option<&ReplicaView>,
    port: Option<&str>,
) -> Result<String> {
    let own = replica.map_or(&service.url, |one| &one.url);
    if let (Some(url), None) = (own, port) {
        return Ok(url.clone());
    }
    let numbers = |one: &ReplicaView| one.ports.clone();
    if replica.is_none() && service.replicas.windows(2).any(|two| numbers(&two[0]) != numbers(&two[1])) {
        let message = format!("every replica of {service_name} has ports of its own in shared isolation");
        return Err(
            CliError::new(ErrorCode::PortNotFound, message).hint(format!("name one: `{service_name}-1`"))
        );
    }
    let Some(one) = replica.or(service.replicas.first()) else {
        return Err(CliError::new(ErrorCode::PortNotFound, format!("service {service_name} has no replica")));
    };
    let ports = &one.ports;
    // Names are known inside of sealed sessions.
    let host = if one.host == LOOPBACK { one.host.as_str() } else { name };
    let found = match port {
        Some(port) => ports.get_key_value(port),
        None if ports.len() == 1 => ports.iter().next(),
        None => None,
    };
    match found {
        Some((port_name, port)) => {
            let address = format!("{host}:{port}");
            let url = service.urls.get(port_name).and_then(|url| UrlParts::of(url));
            Ok(url.map_or_else(|| address.clone(), |url| url.with(&address)))
        }
        None => Err(no_port(service_name, port, Some(ports))),
    }
}

fn no_port(
    service_name: &str,
    port: Option<&str>,
    ports: Option<&std::collections::BTreeMap<String, u16>>,
) -> CliError {
    let names: Vec<&str> = ports.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let message = match port {
        Some(port) => format!("service {service_name} has no port `{port}`"),
        None if names.is_empty() => format!("service {service_name} has no ports"),
        None => format!("service {service_name} has several ports"),
    };
    let error = CliError::new(ErrorCode::PortNotFound, message);
    if names.is_empty() { error } else { error.hint(format!("its ports are {}", names.join(", "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_of_a_url_is_put_elsewhere() {
        let moved = |url: &str| UrlParts::of(url).map(|parts| parts.with("127.0.0.1:9"));
        let expected = |url: &str| Some(url.to_owned());
        assert_eq!(moved("http://web:80"), expected("http://127.0.0.1:9"));
        assert_eq!(moved("postgres://a@db:5432/x"), expected("postgres://a@127.0.0.1:9/x"));
        assert_eq!(moved("redis://:p@r:6379?db=1"), expected("redis://:p@127.0.0.1:9?db=1"));
        assert_eq!(moved("redis://a:1,b:2"), None);
        assert_eq!(moved("http://web"), None);
    }
}
