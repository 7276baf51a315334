//! Staying with a session: a live table where there is a terminal, else a line for everything that happens.

use std::io::IsTerminal as _;
use std::time::Duration;

use belljar_client::query::LogsQuery;
use belljar_client::wire::{LogLine, SessionView};
use belljar_client::{Client, ClientError, EventStream, LogStream};
use belljar_model::{ErrorCode, Event, EventKind, ExitCode, SessionState};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use super::process::Host;
use super::table::Table;
use crate::app::App;
use crate::commands::events::sentence;
use crate::error::{CliError, Result, internal};
use crate::signals::{Asked, Signals};

/// How often times are brought up to date.
const TICK: Duration = Duration::from_secs(1);
/// How soon what has changed is drawn: many changes at once are one drawing.
const DRAWN_WITHIN: Duration = Duration::from_millis(50);
/// How many lines of each log a session that runs already begins with.
const TAIL: usize = 10;
const BELOW: &str = "Ctrl-C ends the session in order, twice at once; q leaves it running";

/// Shows the session until it has ended, or until it is left.
pub(super) async fn run(
    app: &App,
    client: Client,
    view: SessionView,
    host: Option<Host>,
    signals: &mut Signals,
) -> Result<ExitCode> {
    let mut events = client.events(0, true).await?;
    let tail = host.is_none().then_some(TAIL);
    let mut logs = client.logs(&LogsQuery { follow: true, tail, ..LogsQuery::default() }).await?;
    let mut attached = Attached {
        app,
        start_ms: None,
        table: Table::new(&view),
        screen: Screen::of(app),
        client,
        host,
        ending: None,
        seen: view.seq,
    };
    if app.printer.json {
        app.printer.document(&view)?;
    }
    let result = attached.follow(&mut events, &mut logs, signals).await;
    attached.screen.leave(app);
    match result? {
        Left::Running => {
            if let Some(host) = &mut attached.host {
                host.keep().await?;
            }
            app.printer.note(&format!("session {} ({}) is left running", view.name, view.id));
            Ok(ExitCode::OK)
        }
        Left::Ended => attached.ended(&view).await,
    }
}

/// How the session was when it was left.
enum Left {
    Running,
    Ended,
}

struct Attached<'a> {
    app: &'a App,
    client: Client,
    host: Option<Host>,
    table: Table,
    screen: Screen,
    /// The moment of the first event.
    start_ms: Option<i64>,
    /// The end was asked for, and is under way.
    ending: Option<(Asked, JoinHandle<std::result::Result<(), ClientError>>)>,
    /// What happened until here is no news.
    seen: u64,
}

impl Attached<'_> {
    async fn follow(
        &mut self,
        events: &mut EventStream,
        logs: &mut LogStream,
        signals: &mut Signals,
    ) -> Result<Left> {
        let mut resized = signal(SignalKind::window_change()).map_err(internal)?;
        let mut keys = tokio::io::stdin();
        let mut key = [0; 1];
        let mut ticks = tokio::time::interval(TICK);
        let (mut logs_go_on, mut keys_go_on) = (true, self.screen.takes_keys());
        let mut dirty = true;
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Ok(Some(event)) => {
                        self.event(&event).await?;
                        dirty = true;
                    }
                    // Its host process may be gone without a word.
                    Ok(None) | Err(_) => return Ok(Left::Ended),
                },
                line = logs.next(), if logs_go_on => match line {
                    Ok(Some(line)) => {
                        self.line(&line)?;
                        dirty = true;
                    }
                    Ok(None) | Err(_) => logs_go_on = false,
                },
                asked = signals.next() => self.end(asked)?,
                count = keys.read(&mut key), if keys_go_on => match count {
                    // q, and Ctrl-D as a shell has it.
                    Ok(1) if matches!(key[0], b'q' | 0x04) && self.ending.is_none() => return Ok(Left::Running),
                    Ok(1) => {}
                    _ => keys_go_on = false,
                },
                _ = resized.recv() => dirty = true,
                _ = ticks.tick() => dirty = true,
                () = tokio::time::sleep(DRAWN_WITHIN), if dirty => {
                    self.draw()?;
                    dirty = false;
                }
            }
        }
    }

    async fn event(&mut self, event: &Event) -> Result<()> {
        if self.start_ms.is_none() {
            self.start_ms = event.wall.parse().ok().map(jiff::Timestamp::as_millisecond);
        }
        if self.table.take(event)
            && let Ok(view) = self.client.session().await
        {
            self.table.learn(&view);
        }
        if event.seq <= self.seen {
            return Ok(());
        }
        if self.app.printer.json {
            return self.app.printer.line(event);
        }
        if self.screen.is_live() {
            match news(&event.kind).filter(|_| self.ending.is_none()) {
                Some(news) => self.screen.above(self.app, &news),
                None => Ok(()),
            }
        } else {
            self.app.printer.out(&format!("{}\n", sentence(event)))
        }
    }

    fn line(&mut self, line: &LogLine) -> Result<()> {
        self.table.take_line(line);
        if self.screen.is_live() || self.app.printer.json {
            return Ok(());
        }
        self.app.printer.out(&format!("{:<10} | {}\n", line.from, line.line))
    }

    /// The first time in order, the second time at once.
    fn end(&mut self, asked: Asked) -> Result<()> {
        let client = self.client.clone();
        let why = match asked {
            Asked::Interrupt => "`belljar up` was interrupted",
            Asked::Terminate => "`belljar up` was terminated",
        };
        let (text, ending) = match self.ending.take() {
            None => (
                "ending in order; Ctrl-C again ends at once",
                tokio::spawn(async move { client.down_in_order(why).await }),
            ),
            Some(_) => ("ending at once", tokio::spawn(async move { client.down(why).await })),
        };
        self.ending = Some((asked, ending));
        if self.screen.is_live() {
            self.screen.above(self.app, text)
        } else {
            self.app.printer.note(text);
            Ok(())
        }
    }

    fn draw(&mut self) -> Result<()> {
        let now_ms = self.app.now_ms();
        let millis = u64::try_from(now_ms - self.start_ms.unwrap_or(now_ms)).unwrap_or_default();
        let now = Duration::from_millis(millis).as_secs_f64();
        self.screen.draw(self.app, &self.table, now)
    }

    /// Says how it ended, when nothing of it is left.
    async fn ended(self, view: &SessionView) -> Result<ExitCode> {
        let died = self.table.state() != SessionState::Ended && self.client.session().await.is_err();
        if let Some(mut host) = self.host {
            host.ended().await;
        }
        if died && self.ending.is_none() {
            let message = format!("session {} ({}) is dead: its host process was killed", view.name, view.id);
            return Err(CliError::new(ErrorCode::SessionDead, message)
                .hint("`belljar clean` removes what is left of it on disk"));
        }
        let why = self.table.why().unwrap_or("it ended");
        self.app.printer.note(&format!("session {} ({}) has ended: {why}", view.name, view.id));
        Ok(self.ending.map_or(ExitCode::OK, |(asked, _)| asked.exit_code()))
    }
}

/// What is worth a line of its own beside the table.
fn news(kind: &EventKind) -> Option<String> {
    Some(match kind {
        EventKind::ReplicaExited { replica, exit, expected: false, why, .. } => match why {
            Some(why) => format!("{replica} could not be started: {why}"),
            None => format!("{replica} ended: {exit}"),
        },
        EventKind::ReplicaUnhealthy { replica, why, .. } => format!("{replica} is not ready: {why}"),
        EventKind::TaskFailed { task, why, .. } => format!("task {task} failed: {why}"),
        EventKind::FilesChanged { service, files } => {
            let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
            format!("{service} is started again: {} changed", files.join(", "))
        }
        EventKind::SessionChangeFailed { why } => format!("the change failed: {why}"),
        EventKind::SessionDraining { why } => format!("ending: {why}"),
        _ => return None,
    })
}

/// Our terminal, where we have one.
struct Screen {
    /// How many lines of the table stand above the cursor.
    height: usize,
    live: bool,
    before: Option<Termios>,
}

impl Screen {
    fn of(app: &App) -> Self {
        let is_dumb = app.env.get("TERM").is_none_or(|term| term == "dumb");
        let live = std::io::stdout().is_terminal() && !app.printer.json && !is_dumb;
        let before = if live && std::io::stdin().is_terminal() { unbuffered() } else { None };
        if live {
            // Nobody can be told that nobody can be told. The cursor would only jump about.
            let _ = app.printer.out("\x1b[?25l");
        }
        Self { height: 0, live, before }
    }

    fn is_live(&self) -> bool {
        self.live
    }

    fn takes_keys(&self) -> bool {
        self.before.is_some()
    }

    fn draw(&mut self, app: &App, table: &Table, now: f64) -> Result<()> {
        if !self.live {
            return Ok(());
        }
        let size = tcgetwinsize(std::io::stdout()).ok().filter(|size| size.ws_col > 0);
        let (rows, columns) = size.map_or((24, 80), |size| (size.ws_row.into(), size.ws_col.into()));
        let below = if self.takes_keys() { BELOW } else { "Ctrl-C ends the session in order, twice at once" };
        let lines = table.draw(app.printer, rows, columns, now, below);
        let mut text = self.back();
        for line in &lines {
            text.push_str(line);
            text.push_str("\x1b[K\n");
        }
        text.push_str("\x1b[J");
        self.height = lines.len();
        app.printer.out(&text)
    }

    /// Says a line that stays, above the table.
    fn above(&mut self, app: &App, line: &str) -> Result<()> {
        let text = format!("{}{line}\x1b[K\n\x1b[J", self.back());
        self.height = 0;
        app.printer.out(&text)
    }

    /// To where the table begins.
    fn back(&self) -> String {
        if self.height == 0 { "\r".to_owned() } else { format!("\r\x1b[{}A", self.height) }
    }

    /// The terminal as it was; the table stays where it is.
    fn leave(&mut self, app: &App) {
        if self.live {
            let _ = app.printer.out("\x1b[?25h");
        }
        if let Some(before) = self.before.take() {
            // A terminal that is gone needs no restoring.
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &before);
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(before) = self.before.take() {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &before);
        }
    }
}

/// Keys reach us as they are typed and are not shown; Ctrl-C is still a signal.
fn unbuffered() -> Option<Termios> {
    let before = tcgetattr(std::io::stdin()).ok()?;
    let mut terminal = before.clone();
    terminal.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
    tcsetattr(std::io::stdin(), OptionalActions::Now, &terminal).ok()?;
    Some(before)
}
