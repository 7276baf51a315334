//! `plan`: what a stack file comes to.

use std::fmt::Write as _;
use std::path::PathBuf;

use belljar_model::ExitCode;
use belljar_stack::Plan;
use belljar_stack::plan::{Check, Condition, Dependency, Interfaces, ReplicaPlan, UnitName};
use serde_json::{Value, json};

use super::check::planned;
use super::stack_args::StackArgs;
use crate::app::App;
use crate::error::Result;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  belljar plan examples/pods")]
pub(crate) struct Args {
    /// The stack file or its directory
    #[arg(value_name = "STACK")]
    stack: Option<PathBuf>,
    #[command(flatten)]
    file: StackArgs,
}

pub(crate) fn run(app: &App, args: &Args) -> Result<ExitCode> {
    let (_, plan) = planned(app, &args.file, args.stack.as_ref())?;
    show(app, &plan)?;
    Ok(ExitCode::OK)
}

pub(crate) fn show(app: &App, plan: &Plan) -> Result<()> {
    if app.printer.json { app.printer.document(&document(plan)) } else { app.printer.out(&render(plan)) }
}

fn render(plan: &Plan) -> String {
    let mut text = format!("stack {} in {}\n\nstart order\n", plan.stack, plan.dir.display());
    for (index, unit) in plan.order.iter().enumerate() {
        let (kind, after) = match unit {
            UnitName::Service(name) => ("service", plan.service(name).map(|one| &one.after)),
            UnitName::Task(name) => ("task", plan.task(name).map(|one| &one.after)),
        };
        let after: Vec<String> = after.into_iter().flatten().map(dependency).collect();
        let after = if after.is_empty() { String::new() } else { format!(" after {}", after.join(", ")) };
        let _ = writeln!(text, "  {}. {kind} {unit}{after}", index + 1);
    }
    for replica in plan.replicas() {
        let _ = writeln!(text, "\n{} at {}", replica.name, replica.address);
        let _ = writeln!(text, "  run    {}", replica.argv.join(" "));
        let _ = writeln!(
            text,
            "  ready  {} within {}",
            check(replica),
            belljar_model::duration::short(replica.ready.within)
        );
        for volume in &replica.volumes {
            let _ = writeln!(text, "  volume {} in {}", volume.name, volume.source.display());
        }
        for (name, value) in &replica.env {
            let _ = writeln!(text, "  env    {name}={value}");
        }
    }
    for task in &plan.tasks {
        let _ = writeln!(text, "\ntask {}\n  run    {}", task.name, task.argv.join(" "));
    }
    text.push_str(&holes(plan));
    let _ = writeln!(text, "\ncommands and scenarios get");
    for (name, value) in &plan.command_env {
        let _ = writeln!(text, "  {name}={value}");
    }
    text
}

/// What goes through the seal, both ways.
fn holes(plan: &Plan) -> String {
    let mut text = String::new();
    let published: Vec<_> =
        plan.services.iter().flat_map(|one| one.publish.iter().map(move |publish| (one, publish))).collect();
    if !published.is_empty() {
        text.push_str("\nshown on the host\n");
    }
    for (service, publish) in published {
        let number = publish.fixed.map_or_else(|| "a free port".to_owned(), |port| format!("port {port}"));
        let interfaces = interfaces(publish.on);
        let each = if service.replicas.len() > 1 { ", and a free port for each replica" } else { "" };
        let _ = writeln!(text, "  {}:{} on {number} of {interfaces}{each}", service.name, publish.port.name);
    }
    if !plan.host_services.is_empty() {
        text.push_str("\nholes in the seal: what of the host can be reached\n");
    }
    for one in &plan.host_services {
        let _ = match one.address {
            Some(address) => {
                writeln!(text, "  {}:{} at {address} leads to {}", one.name, one.port, one.target)
            }
            None => writeln!(text, "  {} is {}", one.name, one.target),
        };
    }
    text
}

fn interfaces(on: Interfaces) -> &'static str {
    match on {
        Interfaces::Loopback => "127.0.0.1 and ::1",
        Interfaces::All => "ALL interfaces: whoever reaches this machine reaches it",
    }
}

fn dependency(one: &Dependency) -> String {
    let condition = match one.condition {
        Condition::Started => "started",
        Condition::Ready => "ready",
        Condition::Succeeded => "succeeded",
    };
    format!("{} {condition}", one.on)
}

fn check(replica: &ReplicaPlan) -> String {
    match &replica.ready.check {
        Check::Started => "when started".to_owned(),
        Check::Tcp { ports } => {
            let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
            format!("when TCP {} takes connections", ports.join(", "))
        }
        Check::Http { port, path, .. } => {
            format!("when GET http://{}:{port}{path} answers well", replica.name)
        }
        Check::Exec { argv } => format!("when `{}` succeeds", argv.join(" ")),
        Check::Log { pattern } => format!("when its log says /{pattern}/"),
        Check::Notify => "when it notifies".to_owned(),
        Check::File { path } => format!("when {} exists", path.display()),
        Check::Socket { path } => format!("when {} takes connections", path.display()),
    }
}

pub(crate) fn document(plan: &Plan) -> Value {
    let replicas: Vec<Value> = plan
        .replicas()
        .map(|one| {
            json!({"name": one.name, "address": one.address, "run": one.argv, "env": one.env, "cwd": one.cwd,
                   "ready": check(one)})
        })
        .collect();
    let tasks: Vec<Value> = plan
        .tasks
        .iter()
        .map(|one| json!({"name": one.name, "run": one.argv, "env": one.env, "cwd": one.cwd}))
        .collect();
    let order: Vec<String> = plan.order.iter().map(ToString::to_string).collect();
    let published: Vec<Value> = plan
        .services
        .iter()
        .flat_map(|service| service.publish.iter().map(move |publish| (service, publish)))
        .map(|(service, publish)| {
            let on = if publish.on == Interfaces::All { "all" } else { "loopback" };
            json!({"service": service.name, "port": publish.port.name, "number": publish.fixed, "on": on})
        })
        .collect();
    let host_services: Vec<Value> = plan
        .host_services
        .iter()
        .map(|one| {
            json!({"name": one.name, "address": one.address, "port": one.port, "target": one.target.to_string()})
        })
        .collect();
    json!({"stack": plan.stack, "directory": plan.dir, "order": order, "replicas": replicas, "tasks": tasks,
           "published": published, "host_services": host_services, "command_env": plan.command_env})
}
