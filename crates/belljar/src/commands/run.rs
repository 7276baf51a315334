//! `run`: a session around one command.

use std::io::IsTerminal as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use belljar_client::Client;
use belljar_client::wire::ExecRequest;
use belljar_model::event::Exit;
use belljar_model::{ErrorCode, ExitCode, SessionName};
use belljar_sandbox::Zygote;
use belljar_session::CommandSpec;
use belljar_store::{NameWish, SessionKind};

use super::stack_args::StackArgs;
use super::{isolation, relay};
use crate::app::App;
use crate::error::{CliError, Result, internal};
use crate::hosting::{self, Hosted, Launch};
use crate::signals::Signals;

/// A command that was told to end has this long before everything ends.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  belljar run -- psql -h db -U postgres -c 'select 1'")]
pub(crate) struct Args {
    /// The stack file or its directory
    #[arg(value_name = "STACK")]
    stack: Option<PathBuf>,
    #[command(flatten)]
    file: StackArgs,
    /// The session's name [default: the directory's name, with -2, -3 where taken]
    #[arg(long)]
    name: Option<SessionName>,
    #[command(flatten)]
    isolation: isolation::IsolationArgs,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

pub(crate) async fn run(app: &App, zygote: &Arc<Zygote>, args: &Args) -> Result<ExitCode> {
    let mut signals = Signals::listen()?;
    app.note_left_out();
    let (stack_file, stack) = args.file.load(app, args.stack.as_ref())?;
    let name = match &args.name {
        Some(name) => NameWish::Exactly(name.clone()),
        None => NameWish::Like(hosting::name_like(stack.dir())),
    };
    let isolation = args.isolation.isolation.map(Into::into);
    let kind = SessionKind::Run;
    let launch = Launch { stack_file, stack, name, kind, metrics: None, watch: false, isolation };
    let hosted = hosting::launch(app, zygote, launch, |note| app.printer.note(note)).await?;
    let ready = tokio::select! {
        ready = hosted.session.ready() => ready,
        asked = signals.next() => {
            hosted.discard(app, "interrupted while it started").await?;
            return Ok(asked.exit_code());
        }
    };
    if let Err(error) = ready {
        let id = hosted.session.config().id.clone();
        hosted.settle(app, true)?;
        return Err(CliError::from(error).hint(format!("`belljar logs -s {id}` shows all that was said")));
    }
    let result = if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        in_terminal(app, &hosted, args, &mut signals).await
    } else {
        directly(app, &hosted, args, &mut signals).await
    };
    hosted.end(app, "its command has ended", true).await?;
    result
}

/// The command gets a terminal of its own, which shows in ours.
async fn in_terminal(app: &App, hosted: &Hosted, args: &Args, signals: &mut Signals) -> Result<ExitCode> {
    let client = Client::new(hosted.session.config().control_socket.clone());
    let request = ExecRequest {
        replica: None,
        argv: args.command.clone(),
        env: app.env.all().clone(),
        cwd: app.cwd.display().to_string(),
        busy: false,
        terminal: relay::terminal_size(),
    };
    relay::run(&client, &request, signals).await
}

/// The command gets our own standard streams: nothing is in between.
async fn directly(app: &App, hosted: &Hosted, args: &Args, signals: &mut Signals) -> Result<ExitCode> {
    let own = |fd: std::io::Result<OwnedFd>| fd.map_err(internal);
    let stdio = [
        own(std::io::stdin().as_fd().try_clone_to_owned())?,
        own(std::io::stdout().as_fd().try_clone_to_owned())?,
        own(std::io::stderr().as_fd().try_clone_to_owned())?,
    ];
    let spec = CommandSpec {
        replica: None,
        argv: args.command.clone(),
        env: app.env.all().clone(),
        cwd: app.cwd.clone(),
        busy: false,
        terminal: false,
    };
    let mut command = hosted.session.command(spec, stdio).await?;
    let asked = tokio::select! {
        exit = command.wait() => return exit_code(exit),
        asked = signals.next() => asked,
    };
    command.signal(asked.number()).await;
    let mut again = false;
    tokio::select! {
        exit = command.wait() => {
            // A command that handles Ctrl-C and goes its own way keeps its say; SIGTERM is for us.
            if asked == crate::signals::Asked::Interrupt {
                return exit_code(exit);
            }
        }
        _ = signals.next() => again = true,
        () = tokio::time::sleep(ENDS_WITHIN) => {}
    }
    if again {
        app.printer.note("interrupted twice: ending at once");
    }
    Ok(asked.exit_code())
}

/// As a shell says it: its code, or 128 and the signal.
pub(crate) fn exit_code(exit: Option<Exit>) -> Result<ExitCode> {
    let Some(exit) = exit else {
        return Err(CliError::new(ErrorCode::SessionEnded, "the session ended before the command did"));
    };
    let code = match (exit.code, &exit.signal) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + belljar_model::signal::number(signal).unwrap_or_default(),
        (None, None) => i32::from(ExitCode::RUN_FAILED.0),
    };
    Ok(ExitCode(u8::try_from(code & 0xff).unwrap_or(u8::MAX)))
}
