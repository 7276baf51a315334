//! How far a run is: the fold that the terminal shows.

use std::collections::BTreeMap;
use std::path::PathBuf;

use belljar_model::event::Culprit;
use belljar_model::{AttemptOutcome, Counts, Event, EventKind, ScenarioName, ScenarioOutcome};

/// What a run's events add up to so far.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) total: usize,
    pub(crate) ended: usize,
    pub(crate) counts: Counts,
    /// What runs, each in its place for as long as it does.
    pub(crate) slots: Vec<Option<Slot>>,
    /// In the order in which results are listed.
    order: Vec<ScenarioName>,
    /// How many of them have been listed.
    listed: usize,
    attempts: BTreeMap<ScenarioName, BTreeMap<u32, AttemptEnd>>,
    results: BTreeMap<ScenarioName, (ScenarioOutcome, u64)>,
}

/// An attempt that is under way.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Slot {
    pub(crate) scenario: ScenarioName,
    pub(crate) attempt: u32,
    pub(crate) since: f64,
}

/// A scenario that has ended.
#[derive(Debug)]
pub(crate) struct ScenarioEnd {
    pub(crate) scenario: ScenarioName,
    pub(crate) outcome: ScenarioOutcome,
    pub(crate) duration_ms: u64,
    pub(crate) attempts: BTreeMap<u32, AttemptEnd>,
}

#[derive(Debug)]
pub(crate) struct AttemptEnd {
    pub(crate) outcome: AttemptOutcome,
    pub(crate) duration_ms: u64,
    pub(crate) why: Option<String>,
    pub(crate) kept: Option<PathBuf>,
    pub(crate) last_lines: Vec<String>,
    pub(crate) culprit: Option<Culprit>,
}

impl Progress {
    /// Takes one more event in, and gives back the scenarios whose turn it is to be listed: those before which
    /// nothing is still to come.
    pub(crate) fn add(&mut self, event: &Event) -> Vec<ScenarioEnd> {
        match &event.kind {
            EventKind::RunStarted { scenarios, order, .. } => {
                self.total = usize::try_from(*scenarios).unwrap_or(usize::MAX);
                self.order.clone_from(order);
            }
            EventKind::AttemptStarted { scenario, attempt, .. } => {
                self.occupy(Slot { scenario: scenario.clone(), attempt: *attempt, since: event.t });
            }
            EventKind::AttemptEnded {
                scenario,
                attempt,
                outcome,
                duration_ms,
                why,
                kept,
                last_lines,
                culprit,
            } => {
                let ended = AttemptEnd {
                    outcome: *outcome,
                    duration_ms: *duration_ms,
                    why: why.clone(),
                    kept: kept.clone(),
                    last_lines: last_lines.clone(),
                    culprit: culprit.clone(),
                };
                self.attempts.entry(scenario.clone()).or_default().insert(*attempt, ended);
                self.vacate(scenario, *attempt);
            }
            EventKind::ScenarioEnded { scenario, outcome, duration_ms } => {
                self.ended += 1;
                self.counts.add(*outcome);
                self.results.insert(scenario.clone(), (*outcome, *duration_ms));
                if !self.order[self.listed..].contains(scenario) {
                    // A recording without the order: as they come.
                    self.order.insert(self.listed, scenario.clone());
                }
                return self.list();
            }
            _ => {}
        }
        Vec::new()
    }

    fn list(&mut self) -> Vec<ScenarioEnd> {
        let mut ends = Vec::new();
        while let Some(scenario) = self.order.get(self.listed) {
            let Some((outcome, duration_ms)) = self.results.remove(scenario) else {
                break;
            };
            self.listed += 1;
            let attempts = self.attempts.remove(scenario).unwrap_or_default();
            ends.push(ScenarioEnd { scenario: scenario.clone(), outcome, duration_ms, attempts });
        }
        ends
    }

    fn occupy(&mut self, slot: Slot) {
        match self.slots.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(slot),
            None => self.slots.push(Some(slot)),
        }
    }

    fn vacate(&mut self, scenario: &ScenarioName, attempt: u32) {
        for place in &mut self.slots {
            if place.as_ref().is_some_and(|slot| slot.scenario == *scenario && slot.attempt == attempt) {
                *place = None;
            }
        }
        while self.slots.pop_if(|place| place.is_none()).is_some() {}
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use belljar_model::{RunEvent, Summary};

    use super::*;

    /// A run to be told, event by event.
    pub(crate) struct Script {
        pub(crate) events: Vec<RunEvent>,
        counts: Counts,
    }

    impl Script {
        pub(crate) fn new(order: &[&str]) -> Self {
            let mut script = Self { events: Vec::new(), counts: Counts::default() };
            let order: Vec<_> = order.iter().map(|one| name(one)).collect();
            let scenarios = u32::try_from(order.len()).unwrap();
            script.push(0.0, EventKind::RunStarted { run: "run".to_owned(), scenarios, order });
            script
        }

        pub(crate) fn push(&mut self, t: f64, kind: EventKind) {
            let (seq, wall) = (self.events.len() as u64 + 1, "2026-11-20T13:44:05.123Z".to_owned());
            self.events.push(RunEvent::Event(Box::new(Event { v: 1, seq, t, wall, session: None, kind })));
        }

        pub(crate) fn begins(&mut self, t: f64, scenario: &str) {
            self.push(t, EventKind::ScenarioStarted { scenario: name(scenario) });
            self.attempt_begins(t, scenario, 1);
        }

        pub(crate) fn attempt_begins(&mut self, t: f64, scenario: &str, attempt: u32) {
            let scenario = name(scenario);
            let session_dir = "/state/sessions/k3f9-x2ab".into();
            self.push(t, EventKind::AttemptStarted { scenario, attempt, deadline_ms: 60_000, session_dir });
        }

        pub(crate) fn attempt_ends(&mut self, t: f64, scenario: &str, attempt: u32, end: AttemptEnd) {
            let kind = EventKind::AttemptEnded {
                scenario: name(scenario),
                attempt,
                outcome: end.outcome,
                duration_ms: end.duration_ms,
                why: end.why,
                kept: end.kept,
                last_lines: end.last_lines,
                culprit: end.culprit,
            };
            self.push(t, kind);
        }

        pub(crate) fn scenario_ends(&mut self, t: f64, scenario: &str, outcome: ScenarioOutcome) {
            self.counts.add(outcome);
            self.push(t, EventKind::ScenarioEnded { scenario: name(scenario), outcome, duration_ms: 1200 });
        }

        pub(crate) fn passes(&mut self, t: f64, scenario: &str) {
            self.attempt_ends(t, scenario, 1, end(AttemptOutcome::Passed, None));
            self.scenario_ends(t, scenario, ScenarioOutcome::Passed);
        }

        pub(crate) fn ends(&mut self, t: f64) {
            let summary =
                Summary { counts: self.counts, peak_in_flight: 1, duration_ms: 8415, scenarios: Vec::new() };
            let serde_json::Value::Object(summary) = serde_json::to_value(summary).unwrap() else {
                panic!("a summary is an object");
            };
            self.push(t, EventKind::RunEnded { summary });
        }
    }

    pub(crate) fn name(text: &str) -> ScenarioName {
        ScenarioName::new(text).unwrap()
    }

    pub(crate) fn end(outcome: AttemptOutcome, why: Option<&str>) -> AttemptEnd {
        AttemptEnd {
            outcome,
            duration_ms: 1200,
            why: why.map(str::to_owned),
            kept: None,
            last_lines: Vec::new(),
            culprit: None,
        }
    }

    fn listed(script: &Script) -> (Progress, Vec<Vec<String>>) {
        let mut progress = Progress::default();
        let mut listed = Vec::new();
        for event in &script.events {
            if let RunEvent::Event(event) = event {
                let ends = progress.add(event);
                listed.push(ends.iter().map(|one| one.scenario.to_string()).collect::<Vec<_>>());
            }
        }
        listed.retain(|names| !names.is_empty());
        (progress, listed)
    }

    #[test]
    fn results_are_listed_in_the_order_of_the_suite() {
        let mut script = Script::new(&["s::a", "s::b", "s::c"]);
        for scenario in ["s::a", "s::b", "s::c"] {
            script.begins(0.1, scenario);
        }
        script.passes(1.0, "s::c");
        script.passes(2.0, "s::a");
        let (progress, names) = listed(&script);
        assert_eq!(names, [["s::a"]]);
        assert_eq!((progress.ended, progress.counts.passed), (2, 2));
        let running: Vec<_> = progress.slots.iter().flatten().map(|slot| slot.scenario.as_str()).collect();
        assert_eq!(running, ["s::b"]);
        script.passes(3.0, "s::b");
        assert_eq!(listed(&script).1, [vec!["s::a"], vec!["s::b", "s::c"]]);
    }

    #[test]
    fn a_recording_without_an_order_is_listed_as_it_comes() {
        let mut script = Script::new(&[]);
        script.passes(1.0, "s::b");
        script.passes(2.0, "s::a");
        assert_eq!(listed(&script).1, [["s::b"], ["s::a"]]);
    }
}
