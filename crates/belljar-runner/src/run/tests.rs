//! The loop of a run with attempts that are only told: no process, no session, and a clock that stands still.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use belljar_model::{ErrorCode, Event, ScenarioOutcome};
use belljar_session::{User, WallClock};
use belljar_stack::plan::Isolation;
use belljar_stack::{HostPrograms, RecipeBook, SourceFile, Stack};
use belljar_store::{RuntimeDir, Store};
use tokio::sync::Notify;

use super::*;
use crate::config::{Capabilities, Host, Keep, Options, Random};
use crate::select::Selection;

const STACK: &str = r#"
name = "pods"

[service.idle]
run = "sleep infinity"

[suite.pods]
scenarios = "scenarios/*"
tags = ["e2e"]

[suite.picky]
scenarios = "picky/*"
requires = { env = ["TOKEN"], commands = ["no-such-command"], capabilities = ["flight"] }
"#;

struct World {
    dir: tempfile::TempDir,
    config: RunConfig,
    cancel: watch::Sender<bool>,
    events: Vec<RunEvent>,
}

impl World {
    fn new(scenarios: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let project = dir.path().join("project");
        for scenario in scenarios {
            let path = project.join(scenario);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(&path, "#!/bin/sh\n").unwrap();
            fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let stack_file = project.join("belljar.toml");
        let source = SourceFile { path: stack_file.clone(), text: STACK.to_owned() };
        let path = "/usr/bin:/bin".to_owned();
        let number = AtomicU64::new(1);
        let random = move || number.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let (cancel, cancelled) = watch::channel(false);
        let runtime_dir = dir.path().join("sockets");
        let uid = std::os::unix::fs::MetadataExt::uid(&fs_err::metadata(dir.path()).unwrap());
        let config = RunConfig {
            stack: Arc::new(Stack::parse(&source, &RecipeBook::builtin()).unwrap()),
            stack_file,
            store: Arc::new(Store::open(&dir.path().join("state")).unwrap()),
            runtime_dir: RuntimeDir::choose(&[runtime_dir], uid).unwrap(),
            host: Host {
                env: BTreeMap::from([("PATH".to_owned(), path.clone())]),
                cwd: project,
                user: User { name: "somebody".to_owned(), home: PathBuf::from("/home/somebody") },
                uid,
                pid: std::process::id(),
                program: PathBuf::from("/usr/bin/belljar"),
                programs: Arc::new(HostPrograms { path }),
                visible: Vec::new(),
                capabilities: Arc::new(Capabilities::new(Box::new(BTreeSet::new))),
                clock: WallClock(Arc::new(|| "2026-11-20T13:44:05.123Z".parse().unwrap())),
                random: Random(Arc::new(random)),
                ports: None,
            },
            selection: Selection::default(),
            options: Options {
                isolation: Isolation::Sealed,
                jobs: 2,
                timeout: None,
                retries: None,
                count: 1,
                fail_fast: false,
                keep: Keep::Failed,
            },
            cancel: cancelled,
        };
        Self { dir, config, cancel, events: Vec::new() }
    }

    async fn run(&mut self, execute: Execute) -> Result<Summary, RunError> {
        let events = &mut self.events;
        run_with(execute, self.config.clone(), |event| {
            if !matches!(event, RunEvent::Tick { .. }) {
                events.push(event.clone());
            }
        })
        .await
    }

    fn kinds(&self) -> Vec<String> {
        let kind = |event: &RunEvent| match event {
            RunEvent::Event(event) => {
                serde_json::to_value(event).unwrap()["kind"].as_str().unwrap().to_owned()
            }
            RunEvent::Note(note) => note.clone(),
            RunEvent::Tick { .. } => unreachable!("ticks are not collected"),
        };
        self.events.iter().map(kind).collect()
    }

    /// The directory of the only run.
    fn run_dir(&self) -> PathBuf {
        let runs = self.config.store.runs().unwrap();
        assert_eq!(runs.len(), 1);
        assert_eq!(runs[0].root, self.dir.path().join("state/runs").join(&runs[0].id));
        runs[0].root.clone()
    }
}

/// Attempts that come to what `outcome` says of them, when it says so.
fn attempts<F: Future<Output = AttemptOutcome> + Send + 'static>(
    outcome: impl Fn(Attempt, watch::Receiver<bool>) -> F + Send + 'static,
) -> Execute {
    Box::new(move |config, attempt, end, began| {
        let session = SessionId::from_random((config.host.random.0)());
        let (index, number, deadline) = (attempt.index, attempt.number, attempt.deadline);
        let session_dir = PathBuf::from("/state/sessions").join(session.as_str());
        let begins = Began { index, attempt: number, deadline, session: session.clone(), session_dir };
        began.send(begins).expect("the loop lives");
        let outcome = outcome(attempt, end);
        Box::pin(async move {
            let outcome = outcome.await;
            let why = (outcome == AttemptOutcome::Failed).then(|| "exit code 1".to_owned());
            Verdict { outcome, session: Some(session), ..Verdict::skipped(why) }
        })
    })
}

#[tokio::test]
async fn what_happened_is_written_down_told_and_summed_up() {
    let mut world = World::new(&["scenarios/b", "scenarios/a", "picky/p"]);
    // The first scenario ends only after the second has.
    let second_ended = Arc::new(Notify::new());
    let execute = attempts(move |attempt, _| {
        let second_ended = Arc::clone(&second_ended);
        async move {
            if attempt.scenario.short_name() == "a" {
                second_ended.notified().await;
                AttemptOutcome::Passed
            } else {
                second_ended.notify_one();
                AttemptOutcome::Failed
            }
        }
    });
    let summary = world.run(execute).await.unwrap();

    let listed: Vec<_> = summary.scenarios.iter().map(|one| (one.name.as_str(), one.outcome)).collect();
    let expected =
        [("a", ScenarioOutcome::Passed), ("b", ScenarioOutcome::Failed), ("p", ScenarioOutcome::Skipped)];
    assert_eq!(listed, expected, "in the order of the suites");
    assert_eq!((summary.counts.passed, summary.counts.failed, summary.counts.skipped), (1, 1, 1));
    assert_eq!(summary.peak_in_flight, 2);
    assert_eq!(summary.scenarios[0].tags, ["e2e"]);
    let why = summary.scenarios[2].attempts[0].why.as_deref();
    let needs =
        "needs the environment variable TOKEN, the command `no-such-command`, the capability `flight`";
    assert_eq!(why, Some(needs));

    let dir = world.run_dir();
    let written: Vec<Event> = fs_err::read_to_string(dir.join("events.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let told: Vec<Event> = world
        .events
        .iter()
        .map(|event| match event {
            RunEvent::Event(event) => (**event).clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(written, told);
    assert!(written.iter().zip(1..).all(|(event, seq)| event.seq == seq));
    let kinds = world.kinds();
    let begin = ["run.started", "scenario.started", "attempt.ended", "scenario.ended"];
    assert_eq!(kinds[..4], begin, "the skipped one");
    assert_eq!(kinds.last().map(String::as_str), Some("run.ended"));

    let text = fs_err::read_to_string(dir.join("summary.json")).unwrap();
    assert_eq!(serde_json::from_str::<Summary>(&text).unwrap(), summary);
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&document["passed"], &document["timed_out"]), (&1.into(), &0.into()));
    let failed = &document["scenarios"][1];
    assert_eq!((&failed["suite"], &failed["outcome"]), (&"pods".into(), &"failed".into()));
    assert_eq!(failed["attempts"][0]["why"], "exit code 1");
    assert_eq!(world.config.store.runs().unwrap()[0].summary, Some(summary.line()));
    assert!(!dir.join("summary.json.new").exists());
}

#[tokio::test]
async fn cancelling_ends_what_runs_and_calls_off_the_rest() {
    let mut world = World::new(&["scenarios/a", "scenarios/b", "scenarios/c"]);
    world.config.options.jobs = 1;
    let cancel = world.cancel.clone();
    let execute = attempts(move |attempt, mut end| {
        assert_eq!(attempt.scenario.short_name(), "a", "nothing else starts");
        cancel.send_replace(true);
        async move {
            end.wait_for(|end| *end).await.unwrap();
            AttemptOutcome::Cancelled
        }
    });
    let summary = world.run(execute).await.unwrap();
    assert_eq!(summary.counts.cancelled, 3);
    let attempts: Vec<_> = summary.scenarios.iter().map(|one| one.attempts.len()).collect();
    assert_eq!(attempts, [1, 0, 0]);
    assert_eq!(world.kinds().last().map(String::as_str), Some("run.ended"));
}

#[tokio::test]
async fn a_retry_is_told_and_the_scenario_is_flaky() {
    let mut world = World::new(&["scenarios/a"]);
    world.config.options.retries = Some(2);
    world.config.options.timeout = Some(Duration::from_secs(7));
    let execute = attempts(|attempt, _| async move {
        assert_eq!(attempt.deadline, Duration::from_secs(7));
        if attempt.number == 1 { AttemptOutcome::Failed } else { AttemptOutcome::Passed }
    });
    let summary = world.run(execute).await.unwrap();
    assert_eq!(summary.counts.flaky, 1);
    let outcomes: Vec<_> = summary.scenarios[0].attempts.iter().map(|one| one.outcome).collect();
    assert_eq!(outcomes, [AttemptOutcome::Failed, AttemptOutcome::Passed]);
}

#[tokio::test]
async fn nothing_to_run_is_an_error_and_leaves_no_run() {
    let mut world = World::new(&[]);
    let execute = || attempts(|_, _| async { unreachable!("there is none") });
    let error = world.run(execute()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NothingSelected);
    assert_eq!(error.hints()[0], "suite `pods`: no file matches `scenarios/*`");
    world.config.selection.named = vec!["pod".to_owned()];
    let error = world.run(execute()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::SuiteNotFound);
    assert_eq!(world.config.store.runs().unwrap().len(), 0);
}
