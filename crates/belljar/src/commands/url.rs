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
    if let (Some(url), None) = (&service.url, port) {
        // The service's own URL, for the one replica where one is meant.
        return Ok(match replica {
            Some(_) => url
                .replace(&format!("//{service_name}:"), &format!("//{name}:"))
                .replace(&format!("@{service_name}:"), &format!("@{name}:")),
            None => url.clone(),
        });
    }
    let Some(ports) = service.replicas.first().map(|one| &one.ports) else {
        return Err(CliError::new(ErrorCode::PortNotFound, format!("service {service_name} has no replica")));
    };
    let found = match port {
        Some(port) => ports.get_key_value(port),
        None if ports.len() == 1 => ports.iter().next(),
        None => None,
    };
    let names: Vec<&str> = ports.keys().map(String::as_str).collect();
    match found {
        Some((port_name, port)) if port_name.starts_with("http") => Ok(format!("http://{name}:{port}")),
        Some((_, port)) => Ok(format!("{name}:{port}")),
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
