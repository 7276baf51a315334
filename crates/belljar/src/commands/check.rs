//! `check`: every fault of a stack file at once, and nothing started.

use std::path::PathBuf;

use belljar_model::ExitCode;
use belljar_stack::Plan;
use belljar_stack::plan::{Isolation, LeasedPorts};

use super::stack_args::StackArgs;
use crate::app::App;
use crate::error::Result;
use crate::hosting;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  belljar check -f examples/pods/belljar.toml")]
pub(crate) struct Args {
    /// The stack file or its directory
    #[arg(value_name = "STACK")]
    stack: Option<PathBuf>,
    #[command(flatten)]
    file: StackArgs,
}

pub(crate) fn run(app: &App, args: &Args) -> Result<ExitCode> {
    let (file, plan) = planned(app, &args.file, args.stack.as_ref())?;
    let replicas = plan.replicas().count();
    if app.printer.json {
        app.printer.document(&serde_json::json!({
            "stack": plan.stack, "file": file, "services": plan.services.len(), "replicas": replicas,
            "tasks": plan.tasks.len(), "suites": plan.suites.len(),
        }))?;
    } else {
        app.printer.out(&format!(
            "{}: stack {} is valid: {} ({}), {}, {}\n",
            file.display(),
            plan.stack,
            counted(plan.services.len(), "service"),
            counted(replicas, "replica"),
            counted(plan.tasks.len(), "task"),
            counted(plan.suites.len(), "suite")
        ))?;
        // Nothing is wrong with them; they are to be known.
        for one in &plan.host_services {
            app.printer
                .out(&format!("  hole in the seal: {} leads to {} of the host\n", one.name, one.target))?;
        }
        for (service, publish) in plan.published_everywhere() {
            let port = &publish.port.name;
            app.printer.out(&format!("  open to whoever reaches this machine: {}:{port}\n", service.name))?;
        }
    }
    Ok(ExitCode::OK)
}

/// `1 service`, `2 services`.
fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// The plan of a session that will never be: its id and directory are words.
pub(crate) fn planned(app: &App, args: &StackArgs, positional: Option<&PathBuf>) -> Result<(PathBuf, Plan)> {
    let (file, stack) = args.load(app, positional)?;
    let id = belljar_model::SessionId::from_random(0);
    let name = belljar_model::SessionName::new(hosting::name_like(stack.dir()))?;
    let mut context = hosting::planning_context(app, id, name, PathBuf::from("/session"), 0);
    // Ports are leased when there is a session; until then they are those of the file.
    context.leased = (stack.isolation() == Some(Isolation::Shared)).then(LeasedPorts::default);
    let plan = stack.plan(&context, &hosting::programs(app))?;
    Ok((file, plan))
}
