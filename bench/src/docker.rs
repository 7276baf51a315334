//! A Docker daemon of our own: in namespaces of its own, with its data in our directory, so that nothing of it
//! is left when it has ended.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::ground::{Ground, output, until};

/// Debian's own; another `docker` may come first on the `PATH`.
const DOCKER: &str = "/usr/bin/docker";
const DOCKERD: &str = "/usr/sbin/dockerd";
const COMPOSE: &str = "/usr/bin/docker-compose";
const STARTS_WITHIN: Duration = Duration::from_mins(1);
const HEALTHY_WITHIN: Duration = Duration::from_mins(2);
const STEP: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(crate) struct Docker {
    /// `unshare`, whose end is the daemon's, and the end of everything that it started.
    daemon: Child,
    socket: PathBuf,
    groups: String,
}

/// Why there is no Docker to measure, where there cannot be.
pub(crate) fn unavailable(server: &Path) -> Option<String> {
    if !rustix::process::getuid().is_root() {
        return Some("its daemon needs root".to_owned());
    }
    for program in [DOCKERD, DOCKER, COMPOSE] {
        if !Path::new(program).exists() {
            return Some(format!("{program} is not installed"));
        }
    }
    let is_static = fs_err::read(server).is_ok_and(|bytes| !contains(&bytes, b"/ld-linux"));
    (!is_static).then(|| format!("{} is not linked statically: `./x bench` does that", server.display()))
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

/// What is compared, by its own words.
pub(crate) fn versions() -> Result<String> {
    let compose = output(Command::new(COMPOSE).args(["version", "--short"]))?;
    let daemon = output(Command::new(DOCKERD).arg("--version"))?;
    let daemon = daemon.split([' ', ',']).nth(2).unwrap_or_default();
    Ok(format!("docker-compose {} on docker {daemon}", compose.trim()))
}

impl Docker {
    pub(crate) fn start(ground: &Ground) -> Result<Self> {
        let dir = ground.make_dir("docker")?;
        let socket = dir.join("socket");
        let groups = format!("belljar-bench-{}", std::process::id());
        let log = fs_err::File::create(dir.join("log")).map_err(Error::io("write a log"))?;
        // Whatever kills us kills `unshare`, and that its child.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "unshare"]).args([
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "--",
            DOCKERD,
        ]);
        command.arg("--host").arg(format!("unix://{}", socket.display()));
        command.arg("--data-root").arg(dir.join("data")).arg("--exec-root").arg(dir.join("exec"));
        command.arg("--pidfile").arg(dir.join("pid")).args(["--cgroup-parent", &groups]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.into_parts().0);
        let daemon = command.spawn().map_err(Error::io("start dockerd"))?;
        let mut docker = Self { daemon, socket, groups };
        docker.wait_until_it_answers(&dir)?;
        docker.import(ground, &dir)?;
        Ok(docker)
    }

    fn wait_until_it_answers(&mut self, dir: &Path) -> Result<()> {
        until("Docker's first answer", STARTS_WITHIN, STEP * 20, || {
            if self.daemon.try_wait().is_ok_and(|ended| ended.is_some()) {
                let output = fs_err::read_to_string(dir.join("log")).unwrap_or_default();
                return Err(Error::Failed { command: DOCKERD.to_owned(), output });
            }
            Ok(self.get("/_ping").is_ok().then_some(()))
        })
    }

    /// An image with one file in it: our server.
    fn import(&self, ground: &Ground, dir: &Path) -> Result<()> {
        let root = ground.make_dir("docker/root")?;
        fs_err::copy(&ground.server, root.join("server")).map_err(Error::io("copy the server"))?;
        let tar = dir.join("image.tar");
        output(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&tar).arg("server"))?;
        let mut import = Command::new(DOCKER);
        import.arg("--host").arg(self.host()).arg("import").arg(&tar).arg("trivial:latest");
        output(&mut import).map(drop)
    }

    fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    pub(crate) fn compose(&self, dir: &Path, project: &str, args: &[&str]) -> Command {
        let mut command = Command::new(COMPOSE);
        command.env("DOCKER_HOST", self.host()).current_dir(dir).args(["-p", project]).args(args);
        command
    }

    /// Waits until so many containers of a project are healthy.
    pub(crate) fn wait_until_healthy(&self, project: &str, containers: usize) -> Result<()> {
        // {"health":["healthy"],"label":["com.docker.compose.project=PROJECT"]}
        let filters = format!(
            "%7B%22health%22%3A%5B%22healthy%22%5D%2C%22label%22%3A%5B%22com.docker.compose.project%3D{project}%22%5D%7D"
        );
        until("a healthy project", HEALTHY_WITHIN, STEP, || {
            let answer = self.get(&format!("/containers/json?filters={filters}"))?;
            let list: Value = serde_json::from_str(&answer).map_err(|error| Error::Nonsense {
                what: "Docker's list".to_owned(),
                why: error.to_string(),
            })?;
            Ok((list.as_array().map_or(0, Vec::len) == containers).then_some(()))
        })
    }

    /// The body of an answer of its API. A command would take longer than what is waited for.
    fn get(&self, path: &str) -> Result<String> {
        let asked = || -> std::io::Result<String> {
            let mut stream = UnixStream::connect(&self.socket)?;
            stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n").as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = asked().map_err(Error::io("ask Docker"))?;
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.contains(" 200 ") => Ok(body.to_owned()),
            _ => Err(Error::Nonsense { what: "Docker's answer".to_owned(), why: answer }),
        }
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // The kernel ends the daemon with `unshare`, and with the daemon, the first process of its pid namespace,
        // all containers, networks and mounts.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        // What they were counted in is empty then, or soon; nothing else bears our name.
        let emptied = until("empty control groups", STARTS_WITHIN, STEP * 20, || {
            Ok(remove_groups(&self.groups).then_some(()))
        });
        drop(emptied);
    }
}

/// Removes the control groups of this name in every hierarchy. Whether none is left.
fn remove_groups(name: &str) -> bool {
    let mut all = vec![PathBuf::from("/sys/fs/cgroup").join(name)];
    if let Ok(hierarchies) = fs_err::read_dir("/sys/fs/cgroup") {
        all.extend(hierarchies.flatten().map(|one| one.path().join(name)));
    }
    let left = all.iter().filter(|path| path.is_dir()).filter(|path| !remove_tree(path)).count();
    left == 0
}

fn remove_tree(group: &Path) -> bool {
    let below = fs_err::read_dir(group).into_iter().flatten().flatten();
    for entry in below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_tree(&entry.path());
    }
    fs_err::remove_dir(group).is_ok()
}
