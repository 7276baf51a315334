//! `up` where a session of the stack runs already: only what differs is changed, and it is said what that is.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use belljar_client::Client;
use belljar_client::wire::{Applied, ApplyRequest, SessionView, WaitFor};
use belljar_model::event::Change;
use belljar_model::{ErrorCode, ExitCode, SessionState};
use belljar_session::Edition;
use belljar_stack::{Given, HostPrograms};
use belljar_store::SessionRecord;

use super::{Args, attach, show};
use crate::app::App;
use crate::commands::changes::Verdict;
use crate::commands::scale::older;
use crate::error::{CliError, Result};
use crate::hosting;
use crate::signals::Signals;

/// What a session keeps of the host's environment for as long as it lives: a call from another terminal is no
/// change of the stack. What the stack names itself is looked up anew.
const KEPT: &[&str] = &["PATH", "HOME", "USER", "LANG"];

/// Another session that is starting is waited for this long.
const STARTS_WITHIN: Duration = Duration::from_hours(1);

pub(super) async fn run(
    app: &App,
    args: &Args,
    record: &SessionRecord,
    file: &Path,
    signals: &mut Signals,
) -> Result<ExitCode> {
    if record.owner_uid != App::uid() {
        let message = format!("session {} belongs to another user", record.name);
        return Err(CliError::new(ErrorCode::SessionNotOwned, message));
    }
    let client = Client::new(record.control_socket.clone().unwrap_or_default());
    let mut view = client.session().await?;
    if view.state == SessionState::Starting {
        view = client.wait(WaitFor::Ready, None, STARTS_WITHIN).await?;
    }
    let Some(before) = Edition::read(&record.dir.edition())? else {
        let message =
            format!("session {} keeps no edition of its stack, so this changes nothing of it", record.name);
        app.printer.note(&message);
        return stay(app, args, &client, view, signals).await;
    };
    let next = next_edition(app, args, record, &before, file)?;
    let changes = apply(&client, record, &next, true).await?.changes;
    if args.plan || args.dry_run {
        return tell_plan(app, &view, &changes);
    }
    if changes.is_empty() && next == before {
        app.printer.note(&format!("session {} ({}) is {} already", view.name, view.id, view.state));
    } else {
        tell(app, &view, &changes);
        view = carry_out(app, &client, record, &next, signals).await?;
        if changes.is_empty() {
            app.printer.note(&format!(
                "session {} ({}) is {}, and nothing of it had to be started",
                view.name, view.id, view.state
            ));
        }
    }
    stay(app, args, &client, view, signals).await
}

async fn carry_out(
    app: &App,
    client: &Client,
    record: &SessionRecord,
    next: &Edition,
    signals: &mut Signals,
) -> Result<SessionView> {
    let begun = std::time::Instant::now();
    let applied = tokio::select! {
        applied = apply(client, record, next, false) => applied?,
        asked = signals.next() => {
            let message = "interrupted; what was begun goes on, and `belljar events` shows it";
            app.printer.error(&CliError::new(ErrorCode::Interrupted, message));
            return Err(CliError::Silent(asked.exit_code()));
        }
    };
    let took = belljar_model::duration::short(Duration::from_millis(
        u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
    ));
    if !applied.changes.is_empty() {
        app.printer.note(&format!("done in {took}"));
    }
    Ok(applied.session)
}

/// What comes after the changes: its time to live, and staying with it.
async fn stay(
    app: &App,
    args: &Args,
    client: &Client,
    view: SessionView,
    signals: &mut Signals,
) -> Result<ExitCode> {
    if args.metrics.is_some() && view.metrics.is_none() {
        app.printer
            .note("note: it was started without --metrics, and serves none; `--new` starts another one");
    }
    if let Some(ttl) = args.ttl {
        client.expire(ttl).await.map_err(older)?;
        app.printer.note(&format!("it ends by itself in {}", belljar_model::duration::short(ttl)));
    }
    if args.attach {
        return attach::run(app, client.clone(), view, None, signals).await;
    }
    show(app, &view)?;
    Ok(ExitCode::OK)
}

/// What the session is to be made from: the file as it is now, with all that was said of it. It is planned here
/// first, so that its faults are shown as those of any file.
fn next_edition(
    app: &App,
    args: &Args,
    record: &SessionRecord,
    before: &Edition,
    file: &Path,
) -> Result<Edition> {
    let said = args.edits.edits(app);
    let edits = if args.forget { said } else { before.given.edits.clone().and(said) };
    let stack = App::stack_with(file, edits)?;
    let (id, name) = (record.id.clone(), record.name.clone());
    let dir = record.dir.root().to_owned();
    let mut context = hosting::planning_context(app, id, name, dir, before.seed);
    for name in KEPT {
        match before.host_env.get(*name) {
            Some(value) => drop(context.host_env.insert((*name).to_owned(), value.clone())),
            None => drop(context.host_env.remove(*name)),
        }
    }
    let programs = HostPrograms { path: context.host_env.get("PATH").cloned().unwrap_or_default() };
    let host_env: BTreeMap<String, String> = stack.plan(&context, &programs)?.host_env;
    let given: Given = stack.given().clone();
    Ok(Edition::new(given, before.seed, host_env, before.watch || args.watch))
}

/// Hands an edition to the session: by a file in its directory, which nobody inside of it can write.
async fn apply(client: &Client, record: &SessionRecord, edition: &Edition, dry: bool) -> Result<Applied> {
    let name = format!("edition-{:016x}.json", hosting::random()?);
    let path = record.dir.root().join(&name);
    edition.write(&path)?;
    let applied = client.apply(&ApplyRequest { edition: name, dry }).await;
    // The session has taken it away, where it got to it.
    let _ = fs_err::remove_file(&path);
    applied.map_err(older)
}

fn tell_plan(app: &App, view: &SessionView, changes: &[Change]) -> Result<ExitCode> {
    if app.printer.json {
        app.printer.document(&serde_json::json!({ "session": view.id, "changes": changes }))?;
        return Ok(ExitCode::OK);
    }
    let mut text = if changes.is_empty() {
        format!("session {} ({}) is as the stack says: nothing would change\n", view.name, view.id)
    } else {
        format!("session {} ({}) would change:\n", view.name, view.id)
    };
    for change in changes {
        text.push_str(&Verdict::Planned.line(change));
        text.push('\n');
    }
    text.push_str(&others(view, changes));
    app.printer.out(&text)?;
    Ok(ExitCode::OK)
}

fn tell(app: &App, view: &SessionView, changes: &[Change]) {
    if changes.is_empty() {
        return;
    }
    app.printer.note(&format!("session {} ({}) changes:", view.name, view.id));
    for change in changes {
        app.printer.note(&Verdict::Planned.line(change));
    }
    let others = others(view, changes);
    if !others.is_empty() {
        app.printer.note(others.trim_end());
    }
}

/// What stays as it is, by number.
fn others(view: &SessionView, changes: &[Change]) -> String {
    let is_touched = |unit: &str| changes.iter().any(|change| change.unit == unit);
    let services = view.services.keys().filter(|name| !is_touched(name.as_str())).count();
    let tasks = view.tasks.keys().filter(|name| !is_touched(name.as_str())).count();
    match services + tasks {
        _ if changes.is_empty() => String::new(),
        0 => String::new(),
        1 => "  = 1 other stays as it is\n".to_owned(),
        count => format!("  = {count} others stay as they are\n"),
    }
}
