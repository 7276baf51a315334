//! Where it is measured: a directory that goes in the end, the programs, and running them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::error::{Error, Result};
use crate::measure::{rest, timed};

/// How many replicas the session has that most of the figures are about.
pub(crate) const REPLICAS: u8 = 6;

#[derive(Debug)]
pub(crate) struct Ground {
    dir: TempDir,
    belljar: PathBuf,
    /// The trivial service.
    pub(crate) server: PathBuf,
}

impl Ground {
    pub(crate) fn new() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("belljar-bench.").tempdir_in("/var/tmp");
        let dir = dir.map_err(Error::io("make a directory"))?;
        // Servers that are not root's look into it.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs_err::set_permissions(dir.path(), open).map_err(Error::io("open the directory"))?;
        Ok(Self { dir, belljar: beside_us("belljar")?, server: beside_us("bench-server")? })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn make_dir(&self, name: &str) -> Result<PathBuf> {
        let dir = self.path(name);
        fs_err::create_dir_all(&dir).map_err(Error::io("make a directory"))?;
        Ok(dir)
    }

    /// A directory with this stack file.
    pub(crate) fn stack(&self, name: &str, text: &str) -> Result<PathBuf> {
        let dir = self.make_dir(name)?;
        let file = dir.join("belljar.toml");
        fs_err::write(file, format!("name = \"{name}\"\n{text}")).map_err(Error::io("write a stack file"))?;
        Ok(dir)
    }

    /// A service of this many trivial replicas, each of which listens so many milliseconds after its start.
    pub(crate) fn service(&self, replicas: u8, after_ms: u32) -> String {
        let server = self.server.display();
        format!(
            "[service.app]\nrun = [\"{server}\", \"serve\", \"8080\", \"{after_ms}\"]\nreplicas = {replicas}\n\
             ports = {{ main = 8080 }}\n"
        )
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.path("state")
    }

    pub(crate) fn belljar(&self, cwd: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(&self.belljar);
        command.arg("--state-dir").arg(self.state_dir()).args(args).current_dir(cwd);
        // What carries the sessions must not be told that it is in one.
        command.env_remove("BELLJAR_SESSION").env_remove("BELLJAR_CONTROL");
        command
    }

    pub(crate) fn belljar_json(&self, cwd: &Path, args: &[&str]) -> Result<Value> {
        let mut all = vec!["--json"];
        all.extend(args);
        let said = output(&mut self.belljar(cwd, &all))?;
        serde_json::from_str(&said).map_err(|error| Error::Nonsense {
            what: format!("`belljar {}`", args.join(" ")),
            why: error.to_string(),
        })
    }
}

/// The program that stands beside us: both were built by the same cargo.
fn beside_us(name: &str) -> Result<PathBuf> {
    let us = std::env::current_exe().map_err(Error::io("find ourselves"))?;
    let path = us.with_file_name(name);
    if path.exists() { Ok(path) } else { Err(Error::NotBuilt(path)) }
}

/// Runs a program to its end. How long it took, in milliseconds.
pub(crate) fn time(command: &mut Command) -> Result<f64> {
    timed(|| output(command)).map(|(time, _)| time)
}

/// Runs a program to its end, and returns what it said.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let child = start(command)?;
    finish(command, child)
}

/// Starts a program that [`finish`] will wait for.
pub(crate) fn start(command: &mut Command) -> Result<Child> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().map_err(Error::io(format!("run {}", command.get_program().display())))
}

pub(crate) fn finish(command: &Command, child: Child) -> Result<String> {
    let output = child.wait_with_output().map_err(Error::io("wait for a program"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::Failed {
        command: shown(command),
        output: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Looks again and again until something is there.
pub(crate) fn until<T>(
    what: &str,
    within: Duration,
    step: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            return Err(Error::TooLate { what: what.to_owned(), seconds: within.as_secs() });
        }
        rest(step);
    }
}

/// Where a program is, on the `PATH` or in these directories.
pub(crate) fn program(name: &str, dirs: &[&str]) -> Option<PathBuf> {
    use belljar_stack::Programs as _;
    let path = std::env::var("PATH").unwrap_or_default();
    let dirs: Vec<String> = dirs.iter().map(ToString::to_string).collect();
    belljar_stack::HostPrograms { path }.find(name, &dirs)
}
