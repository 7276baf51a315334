//! The lines of a scenario that has ended: one where it is green, and else what somebody needs to find out why.

use std::time::Duration;

use belljar_model::{AttemptOutcome, ScenarioOutcome, duration};

use crate::progress::{AttemptEnd, ScenarioEnd};
use crate::style::{Colour, Style, harmless};

/// How many lines of one log are shown. The rest is where the attempt's directory was kept.
const LAST_LINES: usize = 30;

/// `PASS pods::cluster-smoke 1.20s`, and what there is to say besides.
pub(crate) fn scenario(end: &ScenarioEnd, style: Style) -> Vec<String> {
    let (word, colour) = match end.outcome {
        ScenarioOutcome::Passed => ("PASS", Colour::Green),
        ScenarioOutcome::Failed => ("FAIL", Colour::Red),
        ScenarioOutcome::TimedOut => ("TIMED-OUT", Colour::Red),
        ScenarioOutcome::Flaky => ("FLAKY", Colour::Yellow),
        ScenarioOutcome::Leaked => ("LEAKED", Colour::Red),
        ScenarioOutcome::SetupFailed => ("SETUP-FAILED", Colour::Red),
        ScenarioOutcome::Cancelled => ("CANCELLED", Colour::Dim),
        ScenarioOutcome::Skipped => ("SKIP", Colour::Dim),
    };
    let ran = end.attempts.values().any(|one| one.outcome != AttemptOutcome::Skipped);
    let took = if ran { format!(" {}", short(end.duration_ms)) } else { String::new() };
    let one = end.attempts.values().next().filter(|_| end.attempts.len() == 1);
    let rest = match (one, end.attempts.len()) {
        (Some(only), _) => because(only),
        (None, 0) => String::new(),
        (None, count) => format!(" ({count} attempts)"),
    };
    let name = harmless(end.scenario.as_str());
    let mut lines = vec![format!("{} {name}{took}{rest}", style.paint(colour, word))];
    match one {
        Some(only) => details(only, "  ", style, &mut lines),
        None => {
            for (number, attempt) in &end.attempts {
                several(*number, attempt, style, &mut lines);
            }
        }
    }
    lines
}

/// One of several attempts; those that passed are told by what the others are.
fn several(number: u32, attempt: &AttemptEnd, style: Style, lines: &mut Vec<String>) {
    if attempt.outcome == AttemptOutcome::Passed && attempt.kept.is_none() {
        return;
    }
    let (took, why) = (short(attempt.duration_ms), because(attempt));
    lines.push(format!("  attempt {number}: {} {took}{why}", attempt.outcome));
    details(attempt, "    ", style, lines);
}

fn because(attempt: &AttemptEnd) -> String {
    attempt.why.as_ref().map(|why| format!(": {}", harmless(why))).unwrap_or_default()
}

fn details(attempt: &AttemptEnd, indent: &str, style: Style, lines: &mut Vec<String>) {
    last_lines("scenario.log", &attempt.last_lines, indent, style, lines);
    if let Some(culprit) = &attempt.culprit {
        last_lines(&culprit.name, &culprit.last_lines, indent, style, lines);
    }
    if let Some(kept) = &attempt.kept {
        lines.push(format!("{indent}kept: {}", kept.display()));
    }
}

fn last_lines(of: &str, said: &[String], indent: &str, style: Style, lines: &mut Vec<String>) {
    if said.is_empty() {
        return;
    }
    lines.push(format!("{indent}the last lines of {of}:"));
    let bar = style.paint(Colour::Dim, "|");
    for line in &said[said.len().saturating_sub(LAST_LINES)..] {
        lines.push(format!("{indent}{bar} {}", harmless(line)));
    }
}

fn short(ms: u64) -> String {
    duration::short(Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use belljar_model::event::Culprit;

    use super::*;
    use crate::progress::tests::{end, name};

    #[track_caller]
    fn check(outcome: ScenarioOutcome, attempts: Vec<AttemptEnd>, expected: &[&str]) {
        let attempts: BTreeMap<u32, AttemptEnd> = (1..).zip(attempts).collect();
        let end = ScenarioEnd { scenario: name("pods::smoke"), outcome, duration_ms: 1200, attempts };
        assert_eq!(scenario(&end, Style { colours: false }), expected);
    }

    #[test]
    fn what_is_green_takes_one_line() {
        let passed = || end(AttemptOutcome::Passed, None);
        check(ScenarioOutcome::Passed, vec![passed()], &["PASS pods::smoke 1.20s"]);
        check(ScenarioOutcome::Passed, vec![passed(), passed()], &["PASS pods::smoke 1.20s (2 attempts)"]);
        let kept = AttemptEnd { kept: Some("/state/s".into()), ..passed() };
        check(ScenarioOutcome::Passed, vec![kept], &["PASS pods::smoke 1.20s", "  kept: /state/s"]);
        let skipped = end(AttemptOutcome::Skipped, Some("needs the command `psql`"));
        check(ScenarioOutcome::Skipped, vec![skipped], &["SKIP pods::smoke: needs the command `psql`"]);
        check(ScenarioOutcome::Cancelled, vec![], &["CANCELLED pods::smoke"]);
    }

    #[test]
    fn what_failed_shows_why() {
        let failed = AttemptEnd {
            kept: Some("/state/s".into()),
            last_lines: (0..40).map(|number| format!("\x1b[31mline {number}")).collect(),
            culprit: Some(Culprit { name: "api-2".to_owned(), last_lines: vec!["panicked".to_owned()] }),
            ..end(AttemptOutcome::Failed, Some("exit code 1"))
        };
        let logged: Vec<String> = (10..40).map(|number| format!("  | line {number}")).collect();
        let mut expected = vec!["FAIL pods::smoke 1.20s: exit code 1", "  the last lines of scenario.log:"];
        expected.extend(logged.iter().map(String::as_str));
        expected.extend(["  the last lines of api-2:", "  | panicked", "  kept: /state/s"]);
        check(ScenarioOutcome::Failed, vec![failed], &expected);
    }

    #[test]
    fn of_several_attempts_those_that_did_not_pass_are_told() {
        let failed = AttemptEnd {
            kept: Some("/state/s".into()),
            last_lines: vec!["no".to_owned()],
            ..end(AttemptOutcome::TimedOut, Some("did not end within 1.00s"))
        };
        let expected = [
            "FLAKY pods::smoke 1.20s (2 attempts)",
            "  attempt 1: timed-out 1.20s: did not end within 1.00s",
            "    the last lines of scenario.log:",
            "    | no",
            "    kept: /state/s",
        ];
        check(ScenarioOutcome::Flaky, vec![failed, end(AttemptOutcome::Passed, None)], &expected);
    }
}
