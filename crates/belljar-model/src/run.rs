//! A run as those see it who follow it, and what came of it: the summary document of `test`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::name::SessionId;
use crate::outcome::{AttemptOutcome, Counts, ScenarioOutcome};

/// What whoever follows a run is told.
#[derive(Debug, Clone, PartialEq)]
pub enum RunEvent {
    /// Something happened; it stands in the run's timeline already.
    Event(Box<Event>),
    /// Time has passed, and nothing else. `t` is on the clock of the timeline. Never recorded.
    Tick { t: f64 },
    /// Something about the selection that people may want to know. Never recorded.
    Note(String),
}

/// What came of a run: the last line of `test --json`, and `summary.json` in the run's directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    #[serde(flatten)]
    pub counts: Counts,
    /// How many attempts were under way at once at most.
    pub peak_in_flight: u32,
    pub duration_ms: u64,
    /// In the order of the suites, whatever order they ended in.
    pub scenarios: Vec<ScenarioSummary>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScenarioSummary {
    pub suite: String,
    pub name: String,
    pub tags: Vec<String>,
    pub outcome: ScenarioOutcome,
    pub attempts: Vec<AttemptSummary>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptSummary {
    pub outcome: AttemptOutcome,
    pub duration_ms: u64,
    /// Why it is not `passed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The session that it ran in, where it got one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// The session's directory, where it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<PathBuf>,
}

impl Summary {
    /// `belljar: 41 passed, … in 8.41s (peak 6 at once)`.
    pub fn line(&self) -> String {
        format!(
            "belljar: {} in {}.{:02}s (peak {} at once)",
            self.counts.sentence(),
            self.duration_ms / 1000,
            self.duration_ms % 1000 / 10,
            self.peak_in_flight,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{AttemptSummary, ScenarioSummary, Summary};
    use crate::name::SessionId;
    use crate::outcome::{AttemptOutcome, Counts, ScenarioOutcome};

    fn summary() -> Summary {
        Summary {
            counts: Counts { passed: 41, failed: 1, flaky: 1, skipped: 2, ..Counts::default() },
            peak_in_flight: 6,
            duration_ms: 8419,
            scenarios: vec![ScenarioSummary {
                suite: "pods".to_owned(),
                name: "smoke".to_owned(),
                tags: vec!["e2e".to_owned()],
                outcome: ScenarioOutcome::Failed,
                attempts: vec![AttemptSummary {
                    outcome: AttemptOutcome::Failed,
                    duration_ms: 120,
                    why: Some("exit code 1".to_owned()),
                    session: Some(SessionId::new("k3f9-x2ab").unwrap()),
                    kept: Some("/state/sessions/k3f9-x2ab".into()),
                }],
            }],
        }
    }

    #[test]
    fn the_line_is_the_contracts() {
        assert_eq!(
            summary().line(),
            "belljar: 41 passed, 1 failed, 0 timed-out, 1 flaky, 0 leaked, 0 setup-failed, 0 cancelled, \
             2 skipped in 8.41s (peak 6 at once)"
        );
    }

    #[test]
    fn the_document_is_the_contracts() {
        let text = serde_json::to_string(&summary()).unwrap();
        assert_eq!(
            text,
            r#"{"passed":41,"failed":1,"timed_out":0,"flaky":1,"leaked":0,"setup_failed":0,"cancelled":0,"skipped":2,"peak_in_flight":6,"duration_ms":8419,"scenarios":[{"suite":"pods","name":"smoke","tags":["e2e"],"outcome":"failed","attempts":[{"outcome":"failed","duration_ms":120,"why":"exit code 1","session":"k3f9-x2ab","kept":"/state/sessions/k3f9-x2ab"}]}]}"#
        );
        assert_eq!(serde_json::from_str::<Summary>(&text).unwrap(), summary());
    }
}
