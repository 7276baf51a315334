//! `__host`: the process that carries a session of `up`. It is told what to start on its standard input and
//! tells on its standard output how that goes; from then on it is spoken to by the control protocol alone.
//!
//! Until `up` has said that it wants to keep the session, the end of our standard input ends it: an `up` that
//! is interrupted, or killed, leaves nothing behind.

use std::sync::Arc;
use std::time::Duration;

use belljar_client::wire::{ErrorView, SessionView};
use belljar_model::{ErrorCode, Event, EventKind, ExitCode, SessionName};
use belljar_sandbox::Zygote;
use belljar_stack::Given;
use belljar_store::{NameWish, SessionKind};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines, Stdin};

use super::isolation;
use crate::app::App;
use crate::error::{CliError, Result, internal};
use crate::hosting::{self, Hosted, Launch};
use crate::signals::Signals;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// What `up` asks for: the first line of our standard input.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) given: Given,
    /// Exactly this name, else one like the directory's.
    pub(crate) name: Option<SessionName>,
    /// `--metrics`, with its port, or 0 for any.
    #[serde(default)]
    pub(crate) metrics: Option<u16>,
    /// `up` stays, and when it goes without a word the session ends with it.
    pub(crate) attach: bool,
    pub(crate) watch: bool,
    /// How long the session has to live once it is ready.
    pub(crate) ttl_ms: Option<u64>,
    /// However tight, else what the stack says.
    pub(crate) isolation: Option<isolation::Word>,
}

/// What we tell `up`, a line each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Told {
    Note(String),
    Event(Box<Event>),
    Ready(Box<SessionView>),
    Failed(ErrorView),
}

/// The second line of our standard input: `up` has seen it ready and goes.
pub(crate) const KEEP: &str = "keep";

pub(crate) async fn run(app: &App, zygote: &Arc<Zygote>) -> Result<ExitCode> {
    // Ctrl-C in the terminal of `up` is the business of `up`. It fails where we lead a session already.
    let _ = rustix::process::setsid();
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    let Some(first) = input.next_line().await.map_err(internal)? else {
        // `up` was killed before it could ask for anything.
        return Ok(ExitCode::INTERRUPTED);
    };
    let asked: Asked = serde_json::from_str(&first).map_err(internal)?;
    let (attach, ttl_ms) = (asked.attach, asked.ttl_ms);
    let hosted = match start(app, zygote, asked).await {
        Ok(hosted) => hosted,
        Err(error) => return failed(&error),
    };
    let ready = match until_ready(&hosted, &mut input).await {
        Ok(view) => match prepare(&hosted, ttl_ms).await {
            // Where nobody is left to be told, nobody wants to keep it.
            Ok(()) => tell(&Told::Ready(Box::new(view))).map_err(|_| None),
            Err(error) => Err(Some(error)),
        },
        Err(why) => Err(why),
    };
    match ready {
        Ok(()) => {}
        Err(Some(error)) => {
            let result = failed(&error);
            // It has ended already where it did not become ready.
            hosted.end(app, "it could not be carried on", true).await?;
            return result;
        }
        // `up` is gone: so are we.
        Err(None) => {
            hosted.discard(app, "interrupted while it started").await?;
            return Ok(ExitCode::INTERRUPTED);
        }
    }
    if attach {
        return carry(app, hosted, Some(input)).await;
    }
    match input.next_line().await {
        Ok(Some(line)) if line == KEEP => carry(app, hosted, None).await,
        _ => {
            hosted.discard(app, "interrupted while it started").await?;
            Ok(ExitCode::INTERRUPTED)
        }
    }
}

/// What `up` asked for besides is so when it hears of the session.
async fn prepare(hosted: &Hosted, ttl_ms: Option<u64>) -> Result<()> {
    hosted.session.watches().await;
    match ttl_ms {
        Some(ttl_ms) => Ok(hosted.session.expire(Duration::from_millis(ttl_ms)).await?),
        None => Ok(()),
    }
}

async fn start(app: &App, zygote: &Arc<Zygote>, asked: Asked) -> Result<Hosted> {
    let stack = asked.given.parse()?;
    let name = match asked.name {
        Some(name) => NameWish::Exactly(name),
        None => NameWish::Like(hosting::name_like(stack.dir())),
    };
    let Asked { given, metrics, isolation, watch, .. } = asked;
    let (stack_file, isolation) = (given.file.path, isolation.map(Into::into));
    let launch = Launch { stack_file, stack, name, kind: SessionKind::Up, metrics, watch, isolation };
    // Where nobody listens any more, that is found out later.
    let note = |text: &str| drop(tell(&Told::Note(text.to_owned())));
    hosting::launch(app, zygote, launch, note).await
}

/// The ready session; an error to tell; or nothing, where nobody listens any more.
async fn until_ready(
    hosted: &Hosted,
    input: &mut Lines<BufReader<Stdin>>,
) -> std::result::Result<SessionView, Option<CliError>> {
    let ready = async {
        // The events first: what is told of the way is told whole before the end of it.
        tell_events(hosted).await?;
        hosted.session.ready().await.map_err(|error| {
            let id = &hosted.session.config().id;
            Some(CliError::from(error).hint(format!("`belljar logs -s {id}` shows all that was said")))
        })
    };
    tokio::select! {
        ready = ready => ready,
        // Nothing comes before it is ready: this is the end of `up`.
        _ = input.next_line() => Err(None),
    }
}

/// Tells the events as they happen, until the session is ready or has ended. An error: nobody listens.
async fn tell_events(hosted: &Hosted) -> std::result::Result<(), Option<CliError>> {
    let client = belljar_client::Client::new(hosted.session.config().control_socket.clone());
    // Without its events a session can be waited for all the same.
    let Ok(mut events) = client.events(0, true).await else { return Ok(()) };
    while let Ok(Some(event)) = events.next().await {
        let ready = matches!(event.kind, EventKind::SessionReady {});
        tell(&Told::Event(Box::new(event))).map_err(|_| None)?;
        if ready {
            return Ok(());
        }
    }
    Ok(())
}

/// Until somebody ends it. As long as `up` is attached, its end is the session's, unless it says otherwise.
async fn carry(app: &App, hosted: Hosted, mut attached: Option<Lines<BufReader<Stdin>>>) -> Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let handle = hosted.session.handle().clone();
    loop {
        let word = async {
            match &mut attached {
                Some(input) => input.next_line().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = handle.ended() => break,
            asked = signals.next() => {
                hosted.session.end(&format!("its host process was told to end ({asked:?})")).await;
                break;
            }
            word = word => {
                let stays = matches!(word, Ok(Some(line)) if line == KEEP);
                attached = None;
                if !stays {
                    hosted.session.end_in_order("whom it was attached to has gone").await;
                    break;
                }
            }
        }
    }
    hosted.end(app, "ended", true).await?;
    Ok(ExitCode::OK)
}

fn failed(error: &CliError) -> Result<ExitCode> {
    let view = match error.body() {
        Some(body) => body.error,
        None => ErrorView { code: ErrorCode::Internal, message: String::new(), hints: Vec::new() },
    };
    tell(&Told::Failed(view))?;
    Ok(error.exit_code())
}

fn tell(told: &Told) -> Result<()> {
    use std::io::Write as _;
    let mut line = serde_json::to_vec(told).map_err(internal)?;
    line.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&line).and_then(|()| stdout.flush()).map_err(internal)
}
