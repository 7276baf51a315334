//! What every command is given: where things are, who we are, and how to speak.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use belljar_client::Client;
use belljar_model::{ErrorCode, Selector};
use belljar_session::shared::PortRange;
use belljar_session::{User, WallClock};
use belljar_stack::{Edits, Given, Stack, locate};
use belljar_store::{Liveness, SessionRecord, Store};

use crate::env_vars::{self, Environment};
use crate::error::{CliError, Result, internal};
use crate::printer::Printer;

#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) printer: Printer,
    pub(crate) env: Environment,
    pub(crate) cwd: PathBuf,
    pub(crate) state_dir: PathBuf,
    /// `-s`.
    pub(crate) session: Option<Selector>,
}

/// How a session is spoken to.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) client: Client,
    /// Known where it was looked up, not where the environment of a session named it.
    pub(crate) record: Option<SessionRecord>,
}

impl App {
    /// Says which variables a command does not get.
    pub(crate) fn note_left_out(&self) {
        for name in self.env.left_out() {
            self.printer.note(&format!("note: the variable {name} is not UTF-8 and is left out"));
        }
    }

    /// Milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> i64 {
        jiff::Timestamp::now().as_millisecond() + self.env.clock_offset_ms()
    }

    pub(crate) fn clock(&self) -> WallClock {
        let offset = jiff::SignedDuration::from_millis(self.env.clock_offset_ms());
        WallClock(Arc::new(move || jiff::Timestamp::now().saturating_add(offset).unwrap_or_default()))
    }

    pub(crate) fn uid() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    /// The ports that may be leased, where that was said.
    pub(crate) fn ports(&self) -> Result<Option<PortRange>> {
        let range = self.env.get(env_vars::PORTS).map(str::parse).transpose();
        range.map_err(|why: String| {
            CliError::new(ErrorCode::Usage, format!("the variable {}: {why}", env_vars::PORTS))
        })
    }

    /// Who processes of a session are by name: ourselves, and `belljar` where we are root.
    pub(crate) fn user(&self) -> User {
        let uid = Self::uid();
        let known = user_name(uid);
        let name = if uid == 0 { None } else { known };
        User { name: name.unwrap_or_else(|| "belljar".to_owned()), home: self.env.home() }
    }

    pub(crate) fn store(&self) -> Result<Store> {
        Ok(Store::open(&self.state_dir)?)
    }

    /// The store for reading: nothing is made where nothing is.
    pub(crate) fn store_to_read(&self) -> Result<Option<Store>> {
        Ok(Store::open_existing(&self.state_dir)?)
    }

    /// The stack file: the one that was given, else the nearest upward.
    pub(crate) fn stack_file(&self, given: Option<&Path>) -> Result<PathBuf> {
        match given {
            Some(path) => {
                let path = self.cwd.join(path);
                let path = if path.is_dir() { path.join("belljar.toml") } else { path };
                let shown = path.display();
                path.canonicalize().map_err(|error| {
                    CliError::new(
                        ErrorCode::StackNotFound,
                        format!("cannot read the stack file {shown}: {error}"),
                    )
                })
            }
            None => locate(&self.cwd).ok_or_else(|| {
                let shown = self.cwd.display();
                let message = format!("there is no belljar.toml in {shown} or a directory above");
                CliError::new(ErrorCode::StackNotFound, message)
                    .hint("`belljar init` writes a first one; `-f FILE` names one elsewhere")
            }),
        }
    }

    /// Reads and checks a stack file. Faults show its path as it is seen from here.
    pub(crate) fn stack(file: &Path) -> Result<Stack> {
        Self::stack_with(file, Edits::default())
    }

    /// The same with what was said besides the file.
    pub(crate) fn stack_with(file: &Path, edits: Edits) -> Result<Stack> {
        let given = Given::read(file, edits).map_err(|error| {
            CliError::new(ErrorCode::StackNotFound, format!("cannot read the stack file: {error}"))
        })?;
        Ok(given?.parse()?)
    }

    /// Whether we are a command of a session, and meant is that one.
    pub(crate) fn is_inside(&self) -> bool {
        let inside = self.env.get(env_vars::SESSION);
        let meant = self.session.as_ref().map(ToString::to_string);
        inside.is_some()
            && self.env.get(env_vars::CONTROL).is_some()
            && (meant.is_none() || meant.as_deref() == inside)
    }

    /// The session that a command is about, alive.
    pub(crate) fn find(&self) -> Result<Found> {
        let found = self.find_even_over()?;
        if let Some(record) = &found.record {
            alive(record)?;
        }
        Ok(found)
    }

    /// The session that a command is about, whatever became of it: `-s`, else the one we are in, else the only
    /// live one of this directory.
    pub(crate) fn find_even_over(&self) -> Result<Found> {
        let inside = self.env.get(env_vars::SESSION);
        let control = self.env.get(env_vars::CONTROL);
        let selector = match (&self.session, inside) {
            (Some(selector), _) => Some(selector.clone()),
            (None, Some(inside)) => Some(inside.parse::<Selector>()?),
            (None, None) => None,
        };
        if let (Some(selector), Some(inside), Some(control)) = (&selector, inside, control)
            && selector.to_string() == inside
        {
            return Ok(Found { client: Client::new(PathBuf::from(control)), record: None });
        }
        let record = self.record(selector.as_ref())?;
        let socket = record.control_socket.clone();
        let client = Client::new(socket.unwrap_or_default());
        Ok(Found { client, record: Some(record) })
    }

    /// The session of the registry that a command is about.
    pub(crate) fn record(&self, selector: Option<&Selector>) -> Result<SessionRecord> {
        let store = self.store_to_read()?;
        let Some(selector) = selector else { return self.only_one_here(store.as_ref()) };
        let found = match &store {
            Some(store) => store.find(selector)?,
            None => None,
        };
        found.ok_or_else(|| {
            CliError::new(ErrorCode::SessionNotFound, format!("there is no session `{selector}`"))
                .hint("`belljar ls --all` lists the sessions there are")
        })
    }

    fn only_one_here(&self, store: Option<&Store>) -> Result<SessionRecord> {
        let stack_dir = locate(&self.cwd).and_then(|file| file.parent().map(Path::to_owned));
        let mut live = Vec::new();
        if let Some(store) = store {
            for dir in stack_dir.iter().chain([&self.cwd]) {
                live.extend(store.live_of(dir)?);
            }
        }
        live.sort_by(|a: &SessionRecord, b| a.id.cmp(&b.id));
        live.dedup_by(|a, b| a.id == b.id);
        match live.len() {
            1 => Ok(live.remove(0)),
            0 => Err(CliError::new(ErrorCode::SessionNotFound, "no session is alive in this directory")
                .hint("`belljar up` starts one; `belljar ls` lists those of other directories")),
            _ => {
                let names: Vec<String> =
                    live.iter().map(|one| format!("{} ({})", one.name, one.id)).collect();
                let message = format!("several sessions are alive in this directory: {}", names.join(", "));
                Err(CliError::new(ErrorCode::SessionAmbiguous, message).hint("name one with `-s`"))
            }
        }
    }

    /// The belljar program itself, for the PATH of commands.
    pub(crate) fn program() -> Result<PathBuf> {
        std::env::current_exe().map_err(internal)
    }
}

/// What a user is called on this machine.
pub(crate) fn user_name(uid: u32) -> Option<String> {
    let text = fs_err::read_to_string("/etc/passwd").ok()?;
    let line = text.lines().find(|line| line.split(':').nth(2) == Some(uid.to_string().as_str()))?;
    Some(line.split(':').next()?.to_owned())
}

/// An error where the session has ended or is dead.
pub(crate) fn alive(record: &SessionRecord) -> Result<()> {
    let (code, what) = match record.liveness()? {
        Liveness::Live(_) => return Ok(()),
        Liveness::Ended => (ErrorCode::SessionEnded, "has ended"),
        Liveness::Dead => (ErrorCode::SessionDead, "is dead: its host process was killed"),
    };
    let message = format!("session {} ({}) {what}", record.name, record.id);
    let hint = format!(
        "`belljar logs -s {id}` and `belljar events -s {id}` show what it did; `belljar clean` removes it",
        id = record.id
    );
    Err(CliError::new(code, message).hint(hint))
}
