//! `url`: where a service or replica is reached from inside the session.

use belljar_client::wire::{ReplicaView, ServiceView};
use belljar_model::{ErrorCode, ExitCode};

use super::ps::view_of;
use crate::app::App;
use crate::error::{CliError, Result};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  belljar url api-2:http\n  belljar run -- sh -c 'curl $(belljar url api)'"
)]
pub(crate) struct Args {
    /// A service or one replica of it, and a port by name where it has several
    #[arg(value_name = "SERVICE[-N][:PORT]")]
    service: String,
}

pub(crate) async fn run(app: &App, args: &Args) -> Result<ExitCode> {
    let (name, port) = match args.service.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (args.service.as_str(), None),
    };
    let view = view_of(app).await?;
    for (service_name, service) in &view.services {
        let replica = service.replicas.iter().find(|one| one.name.as_str() == name);
        if service_name.as_str() == name || replica.is_some() {
            let url = url(name, service_name.as_str(), service, replica, port)?;
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
    let host = if one.host == "127.0.0.1" { one.host.as_str() } else { name };
    let found = match port {
        Some(port) => ports.get_key_value(port),
        None if ports.len() == 1 => ports.iter().next(),
        None => None,
    };
    let names: Vec<&str> = ports.keys().map(String::as_str).collect();
    match found {
        Some((port_name, port)) if port_name.starts_with("http") => Ok(format!("http://{host}:{port}")),
        Some((_, port)) => Ok(format!("{host}:{port}")),
        None => {
            let message = match port {
                Some(port) => format!("service {service_name} has no port `{port}`"),
                None if ports.is_empty() => format!("service {service_name} has no ports"),
                None => format!("service {service_name} has several ports"),
            };
            let error = CliError::new(ErrorCode::PortNotFound, message);
            Err(if names.is_empty() {
                error
            } else {
                error.hint(format!("its ports are {}", names.join(", ")))
            })
        }
    }
}
