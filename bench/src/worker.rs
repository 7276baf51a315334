//! Sessions that are carried by one process, as `belljar test` carries them, without its scenarios: that process
//! is started by us, and told what to do line by line, so that floors can be measured in turns with it.

mod host;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ground::Ground;

pub(crate) use host::run;

/// The verb by which this program is that process.
pub(crate) const VERB: &str = "__worker";

/// What it is told, a line each; every line is answered by one.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ask {
    /// Starts this many sessions at once, waits until all of them are ready, and ends them.
    Start(usize),
    /// Starts and ends sessions, so many at once, for so many milliseconds.
    Sustain { at_once: usize, millis: u64 },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Started(Started),
    /// How many sessions had ended after how many milliseconds.
    Sustained {
        ended_ms: Vec<f64>,
    },
    Failed(String),
}

/// In milliseconds, all of it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Started {
    /// From the request until the last of the sessions was ready.
    pub(crate) all_ready: f64,
    /// From the request to end a session until there was nothing left of its processes, each.
    pub(crate) ended: Vec<f64>,
    /// And until it had gone from the registry and the disk.
    pub(crate) given_back: Vec<f64>,
    /// Between listen() and the knowledge of it, for each replica.
    pub(crate) noticed: Vec<f64>,
}

#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    asks: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts the process for the stack of this directory. It keeps this many networks to lease them, or none.
    pub(crate) fn new(ground: &Ground, stack: &Path, slots: usize) -> Result<Self> {
        let us = std::env::current_exe().map_err(Error::io("find ourselves"))?;
        let mut command = Command::new(us);
        command.arg(VERB).arg(stack).arg(ground.path("worker-state")).arg(slots.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(Error::io("start a process for sessions"))?;
        let asks = child.stdin.take();
        let answers = child.stdout.take().ok_or_else(|| Error::Worker("it has no output".to_owned()))?;
        Ok(Self { child, asks, answers: BufReader::new(answers) })
    }

    pub(crate) fn start(&mut self, sessions: usize) -> Result<Started> {
        match self.ask(Ask::Start(sessions))? {
            Answer::Started(started) => Ok(started),
            other => Err(unexpected(other)),
        }
    }

    /// How many sessions a second were started and ended, for each of the whole seconds.
    pub(crate) fn sustain(&mut self, at_once: usize, seconds: u32) -> Result<Vec<f64>> {
        match self.ask(Ask::Sustain { at_once, millis: u64::from(seconds) * 1000 })? {
            Answer::Sustained { ended_ms } => Ok(per_second(&ended_ms, seconds)),
            other => Err(unexpected(other)),
        }
    }

    fn ask(&mut self, ask: Ask) -> Result<Answer> {
        let mut line = serde_json::to_string(&ask).map_err(|error| Error::Worker(error.to_string()))?;
        line.push('\n');
        let asks = self.asks.as_mut().ok_or_else(|| Error::Worker("it has no input".to_owned()))?;
        asks.write_all(line.as_bytes()).map_err(Error::io("ask the process for sessions"))?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).map_err(Error::io("hear the process for sessions"))?;
        serde_json::from_str(&answer).map_err(|_| Error::Worker("it ended".to_owned()))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The end of its input ends it; whatever it thinks of that, it is gone after this.
        self.asks.take();
        let _ = self.child.wait();
    }
}

fn unexpected(answer: Answer) -> Error {
    match answer {
        Answer::Failed(why) => Error::Worker(why),
        other => Error::Worker(format!("it answered {other:?}")),
    }
}

/// How many of these moments lie in each second.
pub(crate) fn per_second(moments_ms: &[f64], seconds: u32) -> Vec<f64> {
    let within = |second: f64| {
        let one = (second * 1e3)..((second + 1.0) * 1e3);
        let count = moments_ms.iter().filter(|moment| one.contains(moment)).count();
        f64::from(u32::try_from(count).unwrap_or(u32::MAX))
    };
    (0..seconds).map(|second| within(f64::from(second))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_counted_by_the_second() {
        let moments = [0.0, 10.0, 999.9, 1000.0, 2500.0, 3000.0];
        assert_eq!(per_second(&moments, 3), [3.0, 1.0, 1.0]);
    }
}
