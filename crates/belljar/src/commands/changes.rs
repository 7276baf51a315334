//! What a change of the stack does to a session, in words.

use belljar_model::ReplicaName;
use belljar_model::event::{Change, ChangeWhat};

/// Whether it is told of before or after it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Planned,
    Done,
}

impl Verdict {
    /// One change as a line: `~ api      restart api-1, api-2 (env LOG)`.
    pub(crate) fn line(self, change: &Change) -> String {
        let planned = self == Self::Planned;
        let (sign, verb) = match (change.what, planned) {
            (ChangeWhat::Start, true) => ('+', "start"),
            (ChangeWhat::Start, false) => ('+', "started"),
            (ChangeWhat::Restart, true) => ('~', "restart"),
            (ChangeWhat::Restart, false) => ('~', "restarted"),
            (ChangeWhat::Stop, true) => ('-', "stop"),
            (ChangeWhat::Stop, false) => ('-', "stopped"),
            (ChangeWhat::Run, true) => ('+', "run"),
            (ChangeWhat::Run, false) => ('+', "ran"),
            (ChangeWhat::Update, true) => ('~', "take over"),
            (ChangeWhat::Update, false) => ('~', "took over"),
        };
        let replicas: Vec<&str> = change.replicas.iter().map(ReplicaName::as_str).collect();
        let mut line = format!("  {sign} {:<12} {verb}", change.unit);
        if !replicas.is_empty() {
            line.push(' ');
            line.push_str(&replicas.join(", "));
        }
        let why = change.why.join(", ");
        let why = match change.what {
            _ if why.is_empty() => String::new(),
            ChangeWhat::Update => format!(" {why}, and nothing is started again"),
            _ => format!(" ({why})"),
        };
        line + &why
    }
}
