//! Commands: what `run`, `exec` and scenarios start beside the replicas.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use belljar_model::ErrorCode;
use belljar_model::event::Exit;
use belljar_sandbox::SandboxError;
use belljar_sandbox::spec::{Place, ProcessSpec, Target};

use super::{Shared, connection, exit_of};
use crate::driver::Handle;
use crate::machine::{Input, ReplicaIndex};

/// Variables that would lead a command to a proxy outside, which no session can reach.
const PROXIES: &[&str] = &["http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"];

/// For a caller without a PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One command. In the session's own place it gets the caller's environment and the session's on top; in a
/// replica's place it gets the replica's.
#[derive(Debug, Clone)]
pub struct CommandSpec {
    pub replica: Option<ReplicaIndex>,
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub cwd: PathBuf,
    /// Whether the session is busy while it runs. A scenario is what a session is there for, not something that
    /// has to end before it is idle.
    pub busy: bool,
    /// Its standard input is a terminal that becomes its own.
    pub terminal: bool,
}

/// Why a command was not started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the command")]
pub struct CommandError(#[from] pub SandboxError);

impl CommandError {
    pub fn code(&self) -> ErrorCode {
        match &self.0 {
            // It was there when it was asked for the command.
            SandboxError::Gone => ErrorCode::SessionEnded,
            other => other.code(),
        }
    }
}

/// A command that runs. Dropping it does not end it.
#[derive(Debug)]
pub struct Command {
    process: connection::Process,
    connection: Arc<connection::Connection>,
    /// Tells the supervisor that it has ended, also when whoever started it goes away.
    _counted: Option<Counted>,
}

#[derive(Debug)]
struct Counted(Handle);

impl Counted {
    fn new(handle: &Handle) -> Self {
        handle.tell(Input::CommandStarted);
        Self(handle.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.tell(Input::CommandEnded);
    }
}

impl Command {
    /// Starts it with these as its standard input, output and error.
    pub(crate) async fn start(
        shared: &Shared,
        handle: &Handle,
        spec: CommandSpec,
        stdio: [OwnedFd; 3],
    ) -> Result<Self, CommandError> {
        let env = match spec.replica {
            Some(replica) => {
                let mut env = shared.replica_plan(replica).env.clone();
                env.extend(spec.env);
                env
            }
            None => command_environment(spec.env, &shared.defined.command_env(), shared.is_sealed()),
        };
        let mut process = match spec.replica {
            Some(replica) => {
                let plan = shared.replica_plan(replica);
                Shared::replica_process(replica, &plan, spec.argv, &env, false)
            }
            None => ProcessSpec {
                unit: 0,
                place: Place::Session,
                main: false,
                argv: spec.argv,
                env: env.into_iter().collect(),
                cwd: PathBuf::new(),
                hostname: shared.hostname.clone(),
                binds: Vec::new(),
                files: Vec::new(),
                terminal: false,
                listeners: Vec::new(),
            },
        };
        process.terminal = spec.terminal;
        process.cwd = spec.cwd;
        let process = shared.connection.spawn(process, stdio, Vec::new()).await?;
        let counted = spec.busy.then(|| Counted::new(handle));
        Ok(Self { process, connection: Arc::clone(&shared.connection), _counted: counted })
    }

    /// Its process, in the session's numbers.
    pub fn pid(&self) -> i32 {
        self.process.pid
    }

    /// Sends a signal to it and to what it started.
    pub async fn signal(&self, signal: i32) {
        // It has ended where this fails.
        let _ = self.connection.signal(Target::UnitGroup(self.process.unit), signal).await;
    }

    /// Ends it and what it started; returns when nothing of it is left.
    pub async fn kill(&self) {
        self.connection.kill_all(Target::UnitGroup(self.process.unit)).await;
    }

    /// How it ended. `None`: the session ended before it did.
    pub async fn wait(&mut self) -> Option<Exit> {
        (&mut self.process.exit).await.ok().map(exit_of)
    }
}

/// The caller's environment without proxies, and the session's on top; `belljar` comes first on the PATH.
fn command_environment(
    caller: BTreeMap<String, String>,
    session: &BTreeMap<String, String>,
    is_sealed: bool,
) -> BTreeMap<String, String> {
    let mut env: BTreeMap<String, String> = caller
        .into_iter()
        .filter(|(name, _)| !PROXIES.contains(&name.to_ascii_lowercase().as_str()))
        // It names a place of the host that a sealed session covers.
        .filter(|(name, _)| !is_sealed || name != "XDG_RUNTIME_DIR")
        .collect();
    if is_sealed && env.contains_key("TMPDIR") {
        env.insert("TMPDIR".to_owned(), "/tmp".to_owned());
    }
    let path = env.remove("PATH").unwrap_or_else(|| DEFAULT_PATH.to_owned());
    env.insert("PATH".to_owned(), path);
    for (name, value) in session {
        let first = match name.as_str() {
            "PATH" => format!("{value}:{}", env[name]),
            _ => value.clone(),
        };
        env.insert(name.clone(), first);
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_command_gets_the_callers_environment_without_ways_out() {
        let caller = map(&[
            ("PATH", "/usr/bin"),
            ("HTTPS_PROXY", "x"),
            ("no_proxy", "y"),
            ("TMPDIR", "/var/tmp/z"),
            ("XDG_RUNTIME_DIR", "/run/user/7"),
            ("DB_HOST", "elsewhere"),
            ("COLOR", "red"),
        ]);
        let session = map(&[("DB_HOST", "db"), ("PATH", "/s/bin")]);
        let expected =
            map(&[("PATH", "/s/bin:/usr/bin"), ("TMPDIR", "/tmp"), ("DB_HOST", "db"), ("COLOR", "red")]);
        assert_eq!(command_environment(caller, &session, true), expected);
    }
}
