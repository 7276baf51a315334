//! The same six trivial services side by side: `belljar up` and `down`, and `docker-compose up` and `down`, one
//! copy and eight at once.
//!
//! Both are done when all six are known to be ready: `belljar up` returns then, `docker-compose up -d` is followed
//! by a wait until all are healthy. The services of Docker are checked every 100 ms, and ended by SIGKILL, as
//! sessions are, so that nobody waits for a server that is deaf to SIGTERM.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Instant;

use crate::docker::{Docker, unavailable, versions};
use crate::error::{Error, Result};
use crate::floors::QUIET;
use crate::ground::{Ground, finish, start};
use crate::measure::{Samples, in_turns, milliseconds, rest};
use crate::row::{Budget, Row, Unit};

const SERVICES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const COPIES: usize = 8;
const RUNS: usize = 7;
const RUNS_OF_COPIES: usize = 2;

const WHAT: [&str; 4] =
    ["up, one copy", "down, one copy", "up, eight copies at once", "down, eight copies at once"];

pub(super) fn measure(ground: &Ground) -> Result<Vec<Row>> {
    if let Some(why) = unavailable(&ground.server) {
        return Ok(WHAT.map(|what| Row::skipped(what, &why)).to_vec());
    }
    let with = Sides {
        ground,
        docker: Docker::start(ground)?,
        compose_dir: compose_dir(ground)?,
        stack: ground.stack("side-by-side", &native(ground))?,
    };
    let one = in_turns(RUNS, || with.round(1))?;
    let eight = in_turns(RUNS_OF_COPIES, || with.round(COPIES))?;
    let versions = versions()?;
    let row = |what: &str, [up, theirs]: [&Samples; 2], least| {
        Row::new(what, Unit::Milliseconds, up).peer(&versions, theirs).budget(Budget::TimesBetter(least))
    };
    Ok(vec![
        row(WHAT[0], [&one[0], &one[2]], 150.0),
        row(WHAT[1], [&one[1], &one[3]], 100.0),
        row(WHAT[2], [&eight[0], &eight[2]], 150.0),
        row(WHAT[3], [&eight[1], &eight[3]], 100.0),
    ])
}

struct Sides<'a> {
    ground: &'a Ground,
    docker: Docker,
    compose_dir: PathBuf,
    stack: PathBuf,
}

impl Sides<'_> {
    /// Up and down of so many copies, of ours and then of theirs.
    fn round(&self, copies: usize) -> Result<[f64; 4]> {
        let names: Vec<String> = (1..=copies).map(|number| format!("copy{number}")).collect();
        let belljar = |args: [&str; 3]| self.ground.belljar(&self.stack, &args);
        let our_up = at_once(&names, |name| belljar(["up", "--name", name]))?;
        rest(QUIET);
        let our_down = at_once(&names, |name| belljar(["down", "-s", name]))?;
        rest(QUIET * 3);
        let begun = Instant::now();
        at_once(&names, |name| self.docker.compose(&self.compose_dir, name, &["up", "-d"]))?;
        for name in &names {
            self.docker.wait_until_healthy(name, SERVICES.len())?;
        }
        let their_up = milliseconds(begun.elapsed());
        let their_down = at_once(&names, |name| self.docker.compose(&self.compose_dir, name, &["down"]))?;
        rest(QUIET * 3);
        Ok([our_up, our_down, their_up, their_down])
    }
}

/// Runs a command per name, all at once. How long until the last has ended.
fn at_once(names: &[String], command: impl Fn(&str) -> Command) -> Result<f64> {
    let mut commands: Vec<Command> = names.iter().map(|name| command(name)).collect();
    let begun = Instant::now();
    let children = commands.iter_mut().map(start).collect::<Result<Vec<Child>>>()?;
    for (command, child) in commands.iter().zip(children) {
        finish(command, child)?;
    }
    Ok(milliseconds(begun.elapsed()))
}

fn native(ground: &Ground) -> String {
    let server = ground.server.display();
    let service = format!("run = [\"{server}\", \"serve\", \"8080\"]\nports = {{ main = 8080 }}\n");
    SERVICES.map(|name| ["[service.", name, "]\n", &service].concat()).concat()
}

fn compose_dir(ground: &Ground) -> Result<PathBuf> {
    let dir = ground.make_dir("compose")?;
    write(&dir.join("docker-compose.yml"), &compose_file())?;
    Ok(dir)
}

fn compose_file() -> String {
    let service = "    image: trivial:latest\n    command: [\"/server\", \"serve\", \"8080\"]\n    \
                   stop_signal: SIGKILL\n    healthcheck:\n      test: [\"CMD\", \"/server\", \"check\", \"8080\"]\n      \
                   interval: 100ms\n      timeout: 5s\n      retries: 100\n";
    let services = SERVICES.map(|name| ["  ", name, ":\n", service].concat()).concat();
    format!("version: \"2.4\"\nservices:\n{services}")
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs_err::write(path, text).map_err(Error::io("write a file"))
}
