//! Decides what starts when. It knows no process and no clock: it is told what ended, and answers what to do.
//!
//! Scenarios start in the order of the suite, each as soon as it fits: one that needs more places than are free
//! lets lighter ones pass, and an exclusive one waits until nothing else is under way.

use belljar_model::{AttemptOutcome, ScenarioOutcome};

/// What the scheduler has to know of a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Work {
    /// How many of the places it takes; never more than there are.
    pub(crate) weight: usize,
    /// Nothing else runs beside it.
    pub(crate) exclusive: bool,
    /// How many more attempts it gets that did not pass.
    pub(crate) retries: u32,
    /// It is not run at all.
    pub(crate) skip: bool,
}

/// What the scheduler is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    AttemptEnded {
        scenario: usize,
        attempt: u32,
        outcome: AttemptOutcome,
    },
    /// End early.
    Cancel,
}

/// What is to be done, in this order. Scenarios are told by their place in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "what the scheduler wants has to be done"]
pub(crate) enum Effect {
    ScenarioStarted {
        scenario: usize,
    },
    Start {
        scenario: usize,
        attempt: u32,
    },
    /// Its one attempt is `skipped`.
    Skip {
        scenario: usize,
    },
    ScenarioEnded {
        scenario: usize,
        outcome: ScenarioOutcome,
    },
    /// Everything that runs is to be ended; each attempt's end is told as ever.
    EndRunning,
}

#[derive(Debug)]
struct Progress {
    work: Work,
    /// Attempts that are still to be started.
    waiting: u32,
    running: u32,
    retries_left: u32,
    /// By attempt; `None` while it runs.
    outcomes: Vec<Option<AttemptOutcome>>,
    /// Some of its attempts were called off.
    cut_short: bool,
    ended: Option<ScenarioOutcome>,
}

/// The state of one run's schedule.
#[derive(Debug)]
pub(crate) struct Scheduler {
    places: usize,
    places_taken: usize,
    in_flight: u32,
    exclusive_runs: bool,
    peak_in_flight: u32,
    fail_fast: bool,
    /// Nothing more is started.
    closed: bool,
    scenarios: Vec<Progress>,
    /// How many scenarios have ended.
    ended: usize,
}

impl Scheduler {
    /// `count`: how many attempts every scenario gets, whatever comes of them.
    pub(crate) fn new(jobs: usize, count: u32, fail_fast: bool, works: Vec<Work>) -> Self {
        let progress = |work: Work| Progress {
            waiting: if work.skip { 0 } else { count.max(1) },
            running: 0,
            retries_left: work.retries,
            outcomes: Vec::new(),
            cut_short: false,
            ended: None,
            work,
        };
        Self {
            places: jobs.max(1),
            places_taken: 0,
            in_flight: 0,
            exclusive_runs: false,
            peak_in_flight: 0,
            fail_fast,
            closed: false,
            scenarios: works.into_iter().map(progress).collect(),
            ended: 0,
        }
    }

    /// What to do at first.
    pub(crate) fn begin(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        for scenario in 0..self.scenarios.len() {
            if self.scenarios[scenario].work.skip {
                self.scenarios[scenario].outcomes.push(Some(AttemptOutcome::Skipped));
                effects.extend([Effect::ScenarioStarted { scenario }, Effect::Skip { scenario }]);
                self.settle(scenario, &mut effects);
            }
        }
        self.fill(&mut effects);
        effects
    }

    /// Takes in what happened, and says what to do now.
    pub(crate) fn handle(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::AttemptEnded { scenario, attempt, outcome } => {
                self.attempt_ended(scenario, attempt, outcome);
                self.settle(scenario, &mut effects);
                self.fill(&mut effects);
            }
            Input::Cancel => {
                effects.push(Effect::EndRunning);
                self.close(&mut effects);
            }
        }
        effects
    }

    /// Whether every scenario has ended.
    pub(crate) fn is_done(&self) -> bool {
        self.ended == self.scenarios.len()
    }

    /// How many attempts were under way at once at most.
    pub(crate) fn peak_in_flight(&self) -> u32 {
        self.peak_in_flight
    }

    fn attempt_ended(&mut self, scenario: usize, attempt: u32, outcome: AttemptOutcome) {
        let places = self.places_of(scenario);
        let one = &mut self.scenarios[scenario];
        one.running -= 1;
        one.outcomes[attempt as usize - 1] = Some(outcome);
        self.places_taken -= places;
        self.in_flight -= 1;
        if one.work.exclusive {
            self.exclusive_runs = false;
        }
        let again = !matches!(outcome, AttemptOutcome::Passed | AttemptOutcome::Cancelled);
        if again && one.retries_left > 0 {
            one.retries_left -= 1;
            if self.closed {
                one.cut_short = true;
            } else {
                one.waiting += 1;
            }
        }
    }

    /// Ends a scenario of which nothing runs or waits any more.
    fn settle(&mut self, scenario: usize, effects: &mut Vec<Effect>) {
        let one = &mut self.scenarios[scenario];
        if one.waiting + one.running > 0 || one.ended.is_some() {
            return;
        }
        let outcome = one.outcome();
        one.ended = Some(outcome);
        self.ended += 1;
        effects.push(Effect::ScenarioEnded { scenario, outcome });
        if self.fail_fast && !self.closed && !is_green(outcome) {
            self.close(effects);
        }
    }

    /// Calls off everything that has not started.
    fn close(&mut self, effects: &mut Vec<Effect>) {
        self.closed = true;
        for scenario in 0..self.scenarios.len() {
            let one = &mut self.scenarios[scenario];
            if one.waiting > 0 {
                one.waiting = 0;
                one.cut_short = true;
                self.settle(scenario, effects);
            }
        }
    }

    /// Starts what fits.
    fn fill(&mut self, effects: &mut Vec<Effect>) {
        for scenario in 0..self.scenarios.len() {
            while self.scenarios[scenario].waiting > 0 && self.fits(scenario) {
                self.start(scenario, effects);
            }
            if self.places_taken == self.places {
                return;
            }
        }
    }

    fn fits(&self, scenario: usize) -> bool {
        if self.exclusive_runs || (self.scenarios[scenario].work.exclusive && self.in_flight > 0) {
            return false;
        }
        self.places_taken + self.places_of(scenario) <= self.places
    }

    fn start(&mut self, scenario: usize, effects: &mut Vec<Effect>) {
        self.places_taken += self.places_of(scenario);
        self.in_flight += 1;
        self.peak_in_flight = self.peak_in_flight.max(self.in_flight);
        let one = &mut self.scenarios[scenario];
        self.exclusive_runs = one.work.exclusive;
        one.waiting -= 1;
        one.running += 1;
        if one.outcomes.is_empty() {
            effects.push(Effect::ScenarioStarted { scenario });
        }
        one.outcomes.push(None);
        let attempt = u32::try_from(one.outcomes.len()).expect("counted by a u32");
        effects.push(Effect::Start { scenario, attempt });
    }

    /// One that wants more places than there are gets all of them.
    fn places_of(&self, scenario: usize) -> usize {
        self.scenarios[scenario].work.weight.clamp(1, self.places)
    }
}

impl Progress {
    /// What it came to. Attempts that were called off hide no failure, and make no scenario green.
    fn outcome(&self) -> ScenarioOutcome {
        let all: Vec<AttemptOutcome> = self.outcomes.iter().flatten().copied().collect();
        let run: Vec<AttemptOutcome> =
            all.iter().copied().filter(|one| *one != AttemptOutcome::Cancelled).collect();
        let whole = !self.cut_short && run.len() == all.len();
        match ScenarioOutcome::of(&run) {
            ScenarioOutcome::Passed if !whole => ScenarioOutcome::Cancelled,
            outcome => outcome,
        }
    }
}

fn is_green(outcome: ScenarioOutcome) -> bool {
    matches!(outcome, ScenarioOutcome::Passed | ScenarioOutcome::Skipped)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLAIN: Work = Work { weight: 1, exclusive: false, retries: 0, skip: false };

    /// A run of the scheduler that checks, at every step, what must always hold.
    struct World {
        scheduler: Scheduler,
        works: Vec<Work>,
        places: usize,
        running: Vec<(usize, u32)>,
        /// By scenario: the outcomes of its attempts in the order they ended.
        attempts: Vec<Vec<AttemptOutcome>>,
        ended: Vec<Option<ScenarioOutcome>>,
        told_to_end: bool,
        peak: usize,
    }

    impl World {
        fn new(jobs: usize, count: u32, fail_fast: bool, works: Vec<Work>) -> Self {
            let mut world = Self {
                scheduler: Scheduler::new(jobs, count, fail_fast, works.clone()),
                places: jobs,
                running: Vec::new(),
                attempts: vec![Vec::new(); works.len()],
                ended: vec![None; works.len()],
                works,
                told_to_end: false,
                peak: 0,
            };
            let effects = world.scheduler.begin();
            world.take(effects);
            world
        }

        fn take(&mut self, effects: Vec<Effect>) {
            for effect in effects {
                match effect {
                    Effect::ScenarioStarted { scenario } => assert_eq!(self.attempts[scenario], []),
                    Effect::Start { scenario, attempt } => {
                        assert!(!self.told_to_end, "nothing starts after the end was told");
                        assert!(!self.works[scenario].skip && self.ended[scenario].is_none());
                        self.running.push((scenario, attempt));
                    }
                    Effect::Skip { scenario } => self.attempts[scenario].push(AttemptOutcome::Skipped),
                    Effect::ScenarioEnded { scenario, outcome } => {
                        assert_eq!(self.ended[scenario].replace(outcome), None, "it ended twice");
                        assert!(self.running.iter().all(|(running, _)| *running != scenario));
                    }
                    Effect::EndRunning => self.told_to_end = true,
                }
            }
            self.peak = self.peak.max(self.running.len());
            let weights = self.running.iter().map(|(one, _)| self.works[*one].weight.clamp(1, self.places));
            assert!(weights.sum::<usize>() <= self.places, "the cap holds: {:?}", self.running);
            let exclusive = self.running.iter().any(|(one, _)| self.works[*one].exclusive);
            assert!(!exclusive || self.running.len() == 1, "an exclusive one is alone: {:?}", self.running);
            assert!(self.scheduler.is_done() || !self.running.is_empty(), "something is always under way");
        }

        fn end(&mut self, running: usize, outcome: AttemptOutcome) {
            let (scenario, attempt) = self.running.remove(running);
            self.attempts[scenario].push(outcome);
            let effects = self.scheduler.handle(Input::AttemptEnded { scenario, attempt, outcome });
            self.take(effects);
        }

        fn cancel(&mut self) {
            let effects = self.scheduler.handle(Input::Cancel);
            self.take(effects);
            assert!(self.told_to_end);
        }
    }

    fn works() -> impl Strategy<Value = Vec<Work>> {
        let work = (0..5_usize, prop::bool::weighted(0.2), 0..3_u32, prop::bool::weighted(0.1))
            .prop_map(|(weight, exclusive, retries, skip)| Work { weight, exclusive, retries, skip });
        prop::collection::vec(work, 0..12)
    }

    fn outcome() -> impl Strategy<Value = AttemptOutcome> {
        prop_oneof![
            3 => Just(AttemptOutcome::Passed),
            1 => Just(AttemptOutcome::Failed),
            1 => Just(AttemptOutcome::TimedOut),
            1 => Just(AttemptOutcome::SetupFailed),
        ]
    }

    proptest! {
        /// Whatever ends in whatever order with whatever outcome: the cap holds, exclusive ones are alone, and
        /// every scenario gets its attempts and its outcome.
        #[test]
        fn nothing_is_lost_and_nothing_is_too_much(
            jobs in 1..6_usize,
            count in 1..3_u32,
            works in works(),
            ends in prop::collection::vec((any::<prop::sample::Index>(), outcome()), 200),
        ) {
            let mut world = World::new(jobs, count, false, works.clone());
            for (which, outcome) in ends {
                if !world.running.is_empty() {
                    world.end(which.index(world.running.len()), outcome);
                }
            }
            prop_assert!(world.scheduler.is_done());
            prop_assert_eq!(world.scheduler.peak_in_flight() as usize, world.peak);
            for (index, work) in works.iter().enumerate() {
                let attempts = &world.attempts[index];
                if work.skip {
                    prop_assert_eq!(world.ended[index], Some(ScenarioOutcome::Skipped));
                    continue;
                }
                let bad = attempts.iter().filter(|one| **one != AttemptOutcome::Passed).count();
                let retried = bad.min(work.retries as usize);
                prop_assert_eq!(attempts.len(), count as usize + retried);
                let green = world.ended[index] == Some(ScenarioOutcome::Passed);
                prop_assert_eq!(green, bad == 0);
            }
        }

        /// Ended early at any moment: what did not run is cancelled, no failure is hidden, and nothing is green
        /// that did not run whole.
        #[test]
        fn ending_early_leaves_nothing_behind(
            jobs in 1..6_usize,
            fail_fast in any::<bool>(),
            works in works(),
            ends in prop::collection::vec((any::<prop::sample::Index>(), outcome()), 0..20),
        ) {
            let mut world = World::new(jobs, 2, fail_fast, works.clone());
            for (which, outcome) in ends {
                if !world.running.is_empty() {
                    world.end(which.index(world.running.len()), outcome);
                }
            }
            world.cancel();
            while !world.running.is_empty() {
                world.end(0, AttemptOutcome::Cancelled);
            }
            prop_assert!(world.scheduler.is_done());
            for (index, work) in works.iter().enumerate() {
                let run: Vec<_> =
                    world.attempts[index].iter().filter(|one| **one != AttemptOutcome::Cancelled).collect();
                let passed = run.iter().filter(|one| ***one == AttemptOutcome::Passed).count();
                match world.ended[index].unwrap() {
                    ScenarioOutcome::Passed => prop_assert!(passed == run.len() && run.len() == 2),
                    ScenarioOutcome::Skipped => prop_assert!(work.skip),
                    ScenarioOutcome::Cancelled => prop_assert_eq!(passed, run.len()),
                    ScenarioOutcome::Flaky => prop_assert!(passed > 0 && passed < run.len()),
                    _ => prop_assert!(passed == 0 && !run.is_empty()),
                }
            }
        }
    }

    #[test]
    fn scenarios_start_in_the_order_of_the_suite() {
        let mut world = World::new(2, 1, false, vec![PLAIN; 4]);
        assert_eq!(world.running, [(0, 1), (1, 1)]);
        world.end(1, AttemptOutcome::Passed);
        assert_eq!(world.running, [(0, 1), (2, 1)]);
    }

    #[test]
    fn a_heavy_one_lets_light_ones_pass_and_gets_its_turn() {
        let heavy = Work { weight: 9, ..PLAIN };
        let mut world = World::new(2, 1, false, vec![PLAIN, heavy, PLAIN]);
        assert_eq!(world.running, [(0, 1), (2, 1)]);
        world.end(0, AttemptOutcome::Passed);
        assert_eq!(world.running, [(2, 1)]);
        world.end(0, AttemptOutcome::Passed);
        assert_eq!(world.running, [(1, 1)]);
    }

    #[test]
    fn a_retry_that_passes_is_flaky() {
        let mut world = World::new(1, 1, false, vec![Work { retries: 1, ..PLAIN }]);
        world.end(0, AttemptOutcome::Failed);
        assert_eq!(world.running, [(0, 2)]);
        world.end(0, AttemptOutcome::Passed);
        assert_eq!(world.ended, [Some(ScenarioOutcome::Flaky)]);
    }

    #[test]
    fn failing_fast_lets_finish_what_runs() {
        let mut world = World::new(2, 1, true, vec![PLAIN; 4]);
        world.end(0, AttemptOutcome::Failed);
        assert_eq!(world.running, [(1, 1)]);
        world.end(0, AttemptOutcome::Passed);
        let (failed, passed) = (Some(ScenarioOutcome::Failed), Some(ScenarioOutcome::Passed));
        let cancelled = Some(ScenarioOutcome::Cancelled);
        assert_eq!(world.ended, [failed, passed, cancelled, cancelled]);
    }
}
