//! The loop of one run: it feeds the scheduler, does what that wants, and writes down what happened.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use belljar_model::{
    AttemptOutcome, AttemptSummary, Counts, EventKind, RunEvent, ScenarioOutcome, ScenarioSummary, SessionId,
    SessionName, Summary,
};
use belljar_sandbox::Zygote;
use belljar_session::timeline::Timeline;
use belljar_stack::Context;
use belljar_stack::plan::{Isolation, LeasedPorts, Plan, SuitePlan};
use belljar_store::{NewRun, RunDir};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::attempt::{self, Attempt, Began, Verdict};
use crate::catalogue::{Catalogue, Scenario};
use crate::config::RunConfig;
use crate::error::RunError;
use crate::requires;
use crate::scheduler::{Effect, Input, Scheduler, Work};
use crate::select::select;

/// How often whoever follows a run is told that time passes.
const TICK: Duration = Duration::from_millis(100);

/// Lists the scenarios of a stack as a run would find them.
pub fn list(config: &RunConfig) -> Result<Catalogue, RunError> {
    Catalogue::of(&plan(config)?)
}

/// Runs what was selected, and tells `reporter` everything as it happens, the summary last. Every session that it
/// started has ended when it returns. Dropping it ends them too, at once.
pub async fn run(
    zygote: Arc<Zygote>,
    config: RunConfig,
    reporter: impl FnMut(&RunEvent),
) -> Result<Summary, RunError> {
    // The networks of the attempts to come are made while the run is still being set up. A stack without
    // replicas has none that would be worth keeping; where this fails, so will the first attempt, and tell why.
    let plan = plan(&config)?;
    let network = belljar_session::network(&plan);
    if plan.isolation == Isolation::Sealed && !network.replicas.is_empty() {
        let _ = zygote.prepare(&network, config.options.jobs);
    }
    let execute: Execute = Box::new(move |config, attempt, end, began| {
        Box::pin(attempt::execute(Arc::clone(&zygote), config, attempt, end, began))
    });
    run_with(execute, config, reporter).await
}

/// How attempts are carried out: the loop's tests do it without processes.
type Execute = Box<
    dyn Fn(
        Arc<RunConfig>,
        Attempt,
        watch::Receiver<bool>,
        mpsc::UnboundedSender<Began>,
    ) -> Pin<Box<dyn Future<Output = Verdict> + Send>>,
>;

async fn run_with(
    execute: Execute,
    config: RunConfig,
    reporter: impl FnMut(&RunEvent),
) -> Result<Summary, RunError> {
    let plan = plan(&config)?;
    let catalogue = Catalogue::of(&plan)?;
    let selected = select(&catalogue, &config.selection, &config.host.cwd)?;
    let id = run_id(&config);
    let dir = config.store.create_run(&NewRun {
        id,
        stack: config.stack.name().clone(),
        origin: config.host.cwd.clone(),
        started_ms: config.now_ms(),
    })?;
    let timeline = Timeline::create(&dir.events(), config.host.clock.clone())
        .map_err(|source| RunError::Record { path: dir.events(), source })?;
    let cases: Vec<Case> = selected.into_iter().map(|scenario| Case::new(scenario, &plan, &config)).collect();
    let works = cases.iter().map(|case| case.work(&config)).collect();
    let options = &config.options;
    let scheduler = Scheduler::new(options.jobs, options.count, options.fail_fast, works);
    let (began, has_begun) = mpsc::unbounded_channel();
    let runner = Runner {
        execute,
        cancel: config.cancel.clone(),
        config: Arc::new(config),
        dir,
        timeline,
        reporter,
        scheduler,
        cases,
        attempts: JoinSet::new(),
        began,
        end_attempts: watch::Sender::new(false),
        trouble: None,
    };
    runner.carry_out(catalogue.notes, has_begun).await
}

/// The plan of no session in particular: what suites there are, and whether the stack can be planned at all.
fn plan(config: &RunConfig) -> Result<Plan, RunError> {
    let session_id = SessionId::from_random((config.host.random.0)());
    let context = Context {
        session_dir: config.store.state_dir().join("sessions").join(session_id.as_str()),
        session_id,
        session_name: SessionName::new("plan").expect("it is one"),
        seed: 0,
        host_env: config.host.env.clone(),
        // What only a sealed session can do is told before the first one starts.
        leased: (config.options.isolation == Isolation::Shared).then(LeasedPorts::default),
    };
    Ok(config.stack.plan(&context, &*config.host.programs)?)
}

/// `20261120-134405-k3f9x2ab`: in the order of their time when they are sorted, and never used twice.
fn run_id(config: &RunConfig) -> String {
    let now = (config.host.clock.0)().strftime("%Y%m%d-%H%M%S");
    let random = SessionId::from_random((config.host.random.0)());
    format!("{now}-{}", random.as_str().replace('-', ""))
}

/// A scenario of this run, and what is known of it so far.
struct Case {
    scenario: Scenario,
    suite: SuitePlan,
    /// Why it is not run.
    skip: Option<String>,
    started: Option<Instant>,
    outcome: Option<ScenarioOutcome>,
    attempts: BTreeMap<u32, AttemptSummary>,
}

/// What reaches the loop. There is no other way to it.
enum Message {
    Began(Began),
    Ended { index: usize, attempt: u32, verdict: Verdict },
    Cancelled,
    Tick,
}

struct Runner<R> {
    execute: Execute,
    config: Arc<RunConfig>,
    dir: RunDir,
    timeline: Timeline,
    reporter: R,
    scheduler: Scheduler,
    cases: Vec<Case>,
    attempts: JoinSet<(usize, u32, Verdict)>,
    began: mpsc::UnboundedSender<Began>,
    cancel: watch::Receiver<bool>,
    end_attempts: watch::Sender<bool>,
    /// Why nothing can be written down any more.
    trouble: Option<RunError>,
}

impl<R: FnMut(&RunEvent)> Runner<R> {
    async fn carry_out(
        mut self,
        notes: Vec<String>,
        mut has_begun: mpsc::UnboundedReceiver<Began>,
    ) -> Result<Summary, RunError> {
        for note in notes {
            (self.reporter)(&RunEvent::Note(note));
        }
        let scenarios = u32::try_from(self.cases.len()).unwrap_or(u32::MAX);
        let order = self.cases.iter().map(|case| case.scenario.name.clone()).collect();
        self.tell(None, EventKind::RunStarted { run: self.dir.id().to_owned(), scenarios, order });
        let effects = self.scheduler.begin();
        self.perform(effects);

        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut cancelled = false;
        while !self.scheduler.is_done() {
            let message = tokio::select! {
                // An attempt begins before it ends.
                biased;
                Some(began) = has_begun.recv() => Message::Began(began),
                () = is_cancelled(&mut self.cancel), if !cancelled => Message::Cancelled,
                Some(ended) = self.attempts.join_next() => match ended {
                    Ok((index, attempt, verdict)) => Message::Ended { index, attempt, verdict },
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
                _ = ticks.tick() => Message::Tick,
            };
            cancelled |= matches!(message, Message::Cancelled);
            self.handle(message);
        }
        self.finish()
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Began(began) => {
                let kind = EventKind::AttemptStarted {
                    scenario: self.cases[began.index].scenario.name.clone(),
                    attempt: began.attempt,
                    deadline_ms: in_ms(began.deadline),
                    session_dir: began.session_dir,
                };
                self.tell(Some(began.session), kind);
            }
            Message::Ended { index, attempt, verdict } => {
                let outcome = verdict.outcome;
                self.attempt_ended(index, attempt, verdict);
                let effects =
                    self.scheduler.handle(Input::AttemptEnded { scenario: index, attempt, outcome });
                self.perform(effects);
            }
            Message::Cancelled => {
                let effects = self.scheduler.handle(Input::Cancel);
                self.perform(effects);
            }
            Message::Tick => (self.reporter)(&RunEvent::Tick { t: self.timeline.now() }),
        }
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::ScenarioStarted { scenario } => {
                    let case = &mut self.cases[scenario];
                    case.started = Some(Instant::now());
                    let scenario = case.scenario.name.clone();
                    self.tell(None, EventKind::ScenarioStarted { scenario });
                }
                Effect::Start { scenario, attempt } => self.start(scenario, attempt),
                Effect::Skip { scenario } => {
                    let verdict = Verdict::skipped(self.cases[scenario].skip.clone());
                    self.attempt_ended(scenario, 1, verdict);
                }
                Effect::ScenarioEnded { scenario, outcome } => {
                    let case = &mut self.cases[scenario];
                    case.outcome = Some(outcome);
                    let duration_ms = case.started.map_or(0, |started| in_ms(started.elapsed()));
                    let scenario = case.scenario.name.clone();
                    self.tell(None, EventKind::ScenarioEnded { scenario, outcome, duration_ms });
                }
                Effect::EndRunning => {
                    self.end_attempts.send_replace(true);
                }
            }
        }
    }

    fn start(&mut self, index: usize, number: u32) {
        let case = &self.cases[index];
        let attempt = Attempt {
            index,
            scenario: case.scenario.clone(),
            number,
            run: self.dir.id().to_owned(),
            deadline: self.config.options.timeout.unwrap_or(case.suite.timeout),
        };
        let config = Arc::clone(&self.config);
        let executing = (self.execute)(config, attempt, self.end_attempts.subscribe(), self.began.clone());
        self.attempts.spawn(async move { (index, number, executing.await) });
    }

    fn attempt_ended(&mut self, index: usize, attempt: u32, verdict: Verdict) {
        let duration_ms = in_ms(verdict.duration);
        let case = &mut self.cases[index];
        let summary = AttemptSummary {
            outcome: verdict.outcome,
            duration_ms,
            why: verdict.why.clone(),
            session: verdict.session.clone(),
            kept: verdict.kept.clone(),
        };
        case.attempts.insert(attempt, summary);
        let kind = EventKind::AttemptEnded {
            scenario: case.scenario.name.clone(),
            attempt,
            outcome: verdict.outcome,
            duration_ms,
            why: verdict.why,
            kept: verdict.kept,
            last_lines: verdict.last_lines,
            culprit: verdict.culprit,
        };
        self.tell(verdict.session, kind);
        for note in verdict.notes {
            (self.reporter)(&RunEvent::Note(note));
        }
    }

    /// Writes down what happened, then tells it. Where that cannot be written, the run is ended: an outcome that
    /// nobody can look up is none.
    fn tell(&mut self, session: Option<SessionId>, kind: EventKind) {
        if self.trouble.is_some() {
            return;
        }
        match self.timeline.append(session, kind) {
            Ok(event) => (self.reporter)(&RunEvent::Event(Box::new(event))),
            Err(source) => {
                self.trouble = Some(RunError::Record { path: self.dir.events(), source });
                let effects = self.scheduler.handle(Input::Cancel);
                self.perform(effects);
            }
        }
    }

    fn finish(mut self) -> Result<Summary, RunError> {
        let mut counts = Counts::default();
        self.cases.iter().filter_map(|case| case.outcome).for_each(|outcome| counts.add(outcome));
        let summary = Summary {
            counts,
            peak_in_flight: self.scheduler.peak_in_flight(),
            duration_ms: in_ms(self.timeline.start().elapsed()),
            scenarios: std::mem::take(&mut self.cases).into_iter().map(Case::into_summary).collect(),
        };
        let recorded = self.record(&summary);
        let ended = self.config.store.end_run(self.dir.id(), self.config.now_ms(), &summary.line());
        match self.trouble {
            Some(error) => Err(error),
            None => recorded.and(ended.map_err(RunError::from)).map(|()| summary),
        }
    }

    fn record(&mut self, summary: &Summary) -> Result<(), RunError> {
        let path = self.dir.root().join("summary.json");
        let record = |source| RunError::Record { path: path.clone(), source };
        let text = serde_json::to_string_pretty(summary).map_err(|error| record(error.into()))?;
        write_atomically(&path, &text).map_err(record)?;
        let document = serde_json::to_value(summary).map_err(|error| record(error.into()))?;
        let serde_json::Value::Object(summary) = document else {
            unreachable!("a struct is an object");
        };
        self.tell(None, EventKind::RunEnded { summary });
        Ok(())
    }
}

impl Case {
    fn new(scenario: Scenario, plan: &Plan, config: &RunConfig) -> Self {
        let suite = plan.suites[scenario.suite].clone();
        let skip = requires::missing(&suite.requires, &config.host, &plan.dir);
        Self { scenario, suite, skip, started: None, outcome: None, attempts: BTreeMap::new() }
    }

    fn work(&self, config: &RunConfig) -> Work {
        Work {
            weight: usize::try_from(self.suite.weight).unwrap_or(usize::MAX),
            exclusive: self.suite.exclusive,
            retries: config.options.retries.unwrap_or(self.suite.retries),
            skip: self.skip.is_some(),
        }
    }

    fn into_summary(self) -> ScenarioSummary {
        ScenarioSummary {
            suite: self.scenario.suite_name().to_owned(),
            name: self.scenario.short_name().to_owned(),
            tags: self.scenario.tags,
            outcome: self.outcome.unwrap_or(ScenarioOutcome::Cancelled),
            attempts: self.attempts.into_values().collect(),
        }
    }
}

impl Verdict {
    fn skipped(why: Option<String>) -> Self {
        Self {
            outcome: AttemptOutcome::Skipped,
            duration: Duration::ZERO,
            why,
            session: None,
            kept: None,
            last_lines: Vec::new(),
            culprit: None,
            notes: Vec::new(),
        }
    }
}

async fn is_cancelled(cancel: &mut watch::Receiver<bool>) {
    if cancel.wait_for(|cancelled| *cancelled).await.is_err() {
        // Nobody is left who could cancel.
        std::future::pending::<()>().await;
    }
}

/// Whoever reads it finds all of it or nothing.
fn write_atomically(path: &Path, text: &str) -> std::io::Result<()> {
    let prepared = path.with_extension("json.new");
    let mut file = fs_err::File::create(&prepared)?;
    file.write_all(text.as_bytes())?;
    drop(file);
    fs_err::rename(&prepared, path)
}

fn in_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
