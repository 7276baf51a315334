//! What an attempt and a scenario came to: closed lists, and the counts that the summary line is made of.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::exit::ExitCode;
use crate::state::closed_list;

closed_list! {
    /// What one execution of a scenario came to.
    AttemptOutcome {
        Passed = "passed",
        Failed = "failed",
        /// Past its deadline.
        TimedOut = "timed-out",
        /// It passed, and something it started is still alive.
        Leaked = "leaked",
        /// The session never became ready, so the scenario did not run.
        SetupFailed = "setup-failed",
        Cancelled = "cancelled",
        Skipped = "skipped",
    }
}

closed_list! {
    /// What a scenario came to over its attempts.
    ScenarioOutcome {
        Passed = "passed",
        Failed = "failed",
        TimedOut = "timed-out",
        /// Some attempts passed and some did not.
        Flaky = "flaky",
        Leaked = "leaked",
        SetupFailed = "setup-failed",
        Cancelled = "cancelled",
        Skipped = "skipped",
    }
}

impl ScenarioOutcome {
    /// All passed: `passed`; none passed: the last one's; mixed: `flaky`. No attempt at all: `cancelled`.
    pub fn of(attempts: &[AttemptOutcome]) -> Self {
        let passed = attempts.iter().filter(|&&one| one == AttemptOutcome::Passed).count();
        match attempts.last() {
            None => Self::Cancelled,
            Some(_) if passed == attempts.len() => Self::Passed,
            Some(_) if passed > 0 => Self::Flaky,
            Some(last) => match last {
                AttemptOutcome::Passed => Self::Passed,
                AttemptOutcome::Failed => Self::Failed,
                AttemptOutcome::TimedOut => Self::TimedOut,
                AttemptOutcome::Leaked => Self::Leaked,
                AttemptOutcome::SetupFailed => Self::SetupFailed,
                AttemptOutcome::Cancelled => Self::Cancelled,
                AttemptOutcome::Skipped => Self::Skipped,
            },
        }
    }
}

/// How many scenarios came to what. The counts exclude each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    pub passed: u32,
    pub failed: u32,
    pub timed_out: u32,
    pub flaky: u32,
    pub leaked: u32,
    pub setup_failed: u32,
    pub cancelled: u32,
    pub skipped: u32,
}

impl Counts {
    pub fn add(&mut self, outcome: ScenarioOutcome) {
        let count = match outcome {
            ScenarioOutcome::Passed => &mut self.passed,
            ScenarioOutcome::Failed => &mut self.failed,
            ScenarioOutcome::TimedOut => &mut self.timed_out,
            ScenarioOutcome::Flaky => &mut self.flaky,
            ScenarioOutcome::Leaked => &mut self.leaked,
            ScenarioOutcome::SetupFailed => &mut self.setup_failed,
            ScenarioOutcome::Cancelled => &mut self.cancelled,
            ScenarioOutcome::Skipped => &mut self.skipped,
        };
        *count += 1;
    }

    /// Failures go before sessions that never came up, and those before flakes. A run in which nothing ran at
    /// all is not green either.
    pub fn exit_code(&self) -> ExitCode {
        if self.failed + self.timed_out + self.leaked > 0 {
            ExitCode::FAILED
        } else if self.setup_failed > 0 {
            ExitCode::SETUP_FAILED
        } else if self.flaky > 0 {
            ExitCode::FLAKY
        } else if self.cancelled > 0 {
            ExitCode::INTERRUPTED
        } else if self.passed + self.skipped == 0 {
            ExitCode::NOTHING_RAN
        } else {
            ExitCode::OK
        }
    }

    /// `41 passed, 1 failed, …`: the middle of the summary line.
    pub fn sentence(&self) -> String {
        let Self { passed, failed, timed_out, flaky, leaked, setup_failed, cancelled, skipped } = self;
        format!(
            "{passed} passed, {failed} failed, {timed_out} timed-out, {flaky} flaky, {leaked} leaked, \
             {setup_failed} setup-failed, {cancelled} cancelled, {skipped} skipped"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use AttemptOutcome::{Failed, Passed, SetupFailed, TimedOut};

    #[test]
    fn a_retry_explains_and_never_hides() {
        assert_eq!(ScenarioOutcome::of(&[Passed]), ScenarioOutcome::Passed);
        assert_eq!(ScenarioOutcome::of(&[Failed, Passed]), ScenarioOutcome::Flaky);
        assert_eq!(ScenarioOutcome::of(&[Passed, Failed]), ScenarioOutcome::Flaky);
        assert_eq!(ScenarioOutcome::of(&[Failed, TimedOut]), ScenarioOutcome::TimedOut);
        assert_eq!(ScenarioOutcome::of(&[SetupFailed]), ScenarioOutcome::SetupFailed);
    }

    #[test]
    fn failures_go_before_setup_failures_before_flakes() {
        let mut counts = Counts::default();
        assert_eq!(counts.exit_code(), ExitCode::NOTHING_RAN);
        let steps = [
            (ScenarioOutcome::Passed, ExitCode::OK),
            (ScenarioOutcome::Flaky, ExitCode::FLAKY),
            (ScenarioOutcome::SetupFailed, ExitCode::SETUP_FAILED),
            (ScenarioOutcome::Leaked, ExitCode::FAILED),
        ];
        for (outcome, code) in steps {
            counts.add(outcome);
            assert_eq!(counts.exit_code(), code);
        }
    }
}
