//! `up --dry-run`, and `up --plan` where nothing runs: everything is checked and planned, and nothing is made.

use std::path::{Path, PathBuf};

use belljar_model::{ExitCode, SessionId, SessionName};

use super::Args;
use belljar_stack::plan::{Isolation, LeasedPorts};
use belljar_stack::{Plan, Stack};

use crate::app::App;
use crate::commands::plan;
use crate::error::{CliError, Result};
use crate::hosting;

pub(super) fn run(app: &App, args: &Args, file: &Path) -> Result<ExitCode> {
    let stack = App::stack_with(file, args.edits.edits(app))?;
    if let Some(name) = &args.name {
        free(app, name)?;
    }
    let planned = planned(app, &stack, args.isolation.isolation.map(Into::into))?;
    belljar_session::check_limits(&planned).map_err(|error| CliError::of(error.code(), &error))?;
    plan::show(app, &planned)?;
    if !app.printer.json {
        app.printer.note("nothing was started");
    }
    Ok(ExitCode::OK)
}

/// The plan of a session that will never be.
pub(super) fn planned(app: &App, stack: &Stack, asked: Option<Isolation>) -> Result<Plan> {
    let name = SessionName::new(hosting::name_like(stack.dir()))?;
    let id = SessionId::from_random(0);
    let mut context = hosting::planning_context(app, id, name, PathBuf::from("/session"), 0);
    // Ports are leased when there is a session; until then they are those of the file.
    let is_shared = asked.or(stack.isolation()) == Some(Isolation::Shared);
    context.leased = is_shared.then(LeasedPorts::default);
    Ok(stack.plan(&context, &hosting::programs(app))?)
}

/// The name is not that of a live session.
fn free(app: &App, name: &SessionName) -> Result<()> {
    let Some(store) = app.store_to_read()? else { return Ok(()) };
    let holder = store.find(&belljar_model::Selector::Name(name.clone()))?;
    match holder {
        Some(holder) if holder.liveness()?.is_live() => {
            let taken = belljar_store::StoreError::SessionNameTaken {
                name: name.clone(),
                holder: holder.id,
                pid: holder.host_pid,
                stack: holder.stack,
            };
            Err(taken.into())
        }
        _ => Ok(()),
    }
}
