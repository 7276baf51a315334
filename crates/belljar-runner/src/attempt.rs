//! One execution of one scenario: a session of its own, the suite's setup, the command, the end of it all.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use belljar_model::event::{Culprit, Exit};
use belljar_model::{AttemptOutcome, ReplicaState, SessionId, SessionState};
use belljar_sandbox::Zygote;
use belljar_session::logs::{LAST_LINES, LogReader};
use belljar_session::ports::Numbers;
use belljar_session::shared::{self, Ground};
use belljar_session::{CommandError, CommandSpec, Config, Edition, NotReady, Session};
use belljar_stack::plan::{Isolation, Plan, SuitePlan};
use belljar_stack::{Context, Programs};
use belljar_store::{NameWish, NewSession, OwnedSession, SessionKind, StoreError, artifacts};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::capture::Capture;
use crate::catalogue::Scenario;
use crate::config::{Keep, RunConfig};
use crate::leases::SessionLeases;
use crate::{dump, exports};

/// What one attempt has to be told.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// Its scenario's place in the run.
    pub(crate) index: usize,
    pub(crate) scenario: Scenario,
    pub(crate) number: u32,
    pub(crate) run: String,
    pub(crate) deadline: Duration,
}

/// An attempt has got its session.
#[derive(Debug)]
pub(crate) struct Began {
    pub(crate) index: usize,
    pub(crate) attempt: u32,
    pub(crate) deadline: Duration,
    pub(crate) session: SessionId,
    pub(crate) session_dir: PathBuf,
}

/// What an attempt came to.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) outcome: AttemptOutcome,
    pub(crate) duration: Duration,
    pub(crate) why: Option<String>,
    pub(crate) session: Option<SessionId>,
    pub(crate) kept: Option<PathBuf>,
    pub(crate) last_lines: Vec<String>,
    pub(crate) culprit: Option<Culprit>,
    /// What went wrong besides and changes nothing about the outcome.
    pub(crate) notes: Vec<String>,
}

/// Carries out one attempt. `end` becomes `true` when it is to be ended; whatever happens, its session has ended
/// when this returns.
pub(crate) async fn execute(
    zygote: Arc<Zygote>,
    config: Arc<RunConfig>,
    attempt: Attempt,
    mut end: watch::Receiver<bool>,
    began: mpsc::UnboundedSender<Began>,
) -> Verdict {
    let begun = Instant::now();
    let name = format!("{}-{}", attempt.scenario.suite_name(), attempt.scenario.short_name());
    let created = blocking(&config, move |config| create(config, name)).await;
    let mut verdict = match created {
        Err(error) => Verdict::new(Came::setup_failed(whole(&error))),
        Ok(owned) => {
            // The loop outlives its attempts.
            let _ = began.send(Began {
                index: attempt.index,
                attempt: attempt.number,
                deadline: attempt.deadline,
                session: owned.id().clone(),
                session_dir: owned.dir().root().to_owned(),
            });
            let place = Place { config: &config, owned: &owned, attempt: &attempt };
            let mut verdict = place.execute(&zygote, &mut end).await;
            verdict.session = Some(owned.id().clone());
            let keep = match config.options.keep {
                Keep::Never => false,
                Keep::Failed => verdict.outcome != AttemptOutcome::Passed,
                Keep::Always => true,
            };
            let dir = owned.dir().root().to_owned();
            if let Err(error) = blocking(&config, move |config| give_back(config, owned, keep)).await {
                verdict.notes.push(format!("{}: {}", dir.display(), whole(&error)));
            }
            verdict.kept = keep.then_some(dir);
            verdict
        }
    };
    verdict.duration = begun.elapsed();
    verdict
}

fn create(config: &RunConfig, name: String) -> Result<OwnedSession, StoreError> {
    let id = SessionId::from_random((config.host.random.0)());
    let new = NewSession {
        control_socket: config.runtime_dir.socket(&id),
        id,
        name: NameWish::Like(name),
        stack: config.stack.name().clone(),
        stack_file: config.stack_file.clone(),
        origin: config.stack.dir().to_owned(),
        owner_uid: config.host.uid,
        host_pid: config.host.pid,
        created_ms: config.now_ms(),
        kind: SessionKind::Test,
    };
    let owned = config.store.create_session(&new)?;
    match config.runtime_dir.create_session(owned.id()) {
        Ok(_) => Ok(owned),
        Err(error) => {
            // Nothing has happened in it. Where it cannot be removed, `clean` finds it dead.
            let _ = config.store.discard_session(owned);
            Err(error)
        }
    }
}

/// Lets go of a session that has ended: it is kept, or nothing of it is.
fn give_back(config: &RunConfig, owned: OwnedSession, keep: bool) -> Result<(), StoreError> {
    config.runtime_dir.remove_session(owned.id())?;
    if keep {
        return config.store.end_session(owned.id(), config.now_ms(), keep);
    }
    // That it has ended need not be written down first: what is killed on the way is found dead by a clean.
    config.store.discard_session(owned)
}

/// The store's calls wait for the disk and for each other.
async fn blocking<T: Send + 'static>(
    config: &Arc<RunConfig>,
    work: impl FnOnce(&RunConfig) -> T + Send + 'static,
) -> T {
    let config = Arc::clone(config);
    match tokio::task::spawn_blocking(move || work(&config)).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// An attempt with the directory of its session.
struct Place<'a> {
    config: &'a Arc<RunConfig>,
    owned: &'a OwnedSession,
    attempt: &'a Attempt,
}

/// What an attempt came to, as long as its session still lives.
#[derive(Debug)]
struct Came {
    outcome: AttemptOutcome,
    why: Option<String>,
    culprit: Option<Culprit>,
}

/// How a command ended.
enum Finished {
    Exited(Exit),
    SessionEnded,
    TimedOut,
    ToldToEnd,
    NotStarted(CommandError),
}

/// What is learned of an attempt on the way.
#[derive(Default)]
struct Findings {
    setup: Option<Capture>,
    scenario: Option<Capture>,
    notes: Vec<String>,
}

impl Place<'_> {
    async fn execute(&self, zygote: &Arc<Zygote>, end: &mut watch::Receiver<bool>) -> Verdict {
        let seed = (self.config.host.random.0)();
        let context = self.context(seed);
        let planned = match self.config.options.isolation {
            Isolation::Sealed => self.plan(&context).map(|plan| (plan, None)),
            Isolation::Shared => self.plan_shared(context).await.map(|(plan, ground)| (plan, Some(ground))),
        };
        let (plan, ground) = match planned {
            Ok((plan, ground)) => (Arc::new(plan), ground),
            Err(why) => return Verdict::new(Came::setup_failed(why)),
        };
        let session = match Session::launch(zygote, self.session_config(&plan, ground, seed)).await {
            Ok(session) => session,
            Err(error) => return Verdict::new(Came::setup_failed(whole(&error))),
        };
        let suite = &plan.suites[self.attempt.scenario.suite];
        let mut findings = Findings::default();
        let came = self.in_session(&session, suite, seed, &mut findings, end).await;
        findings.notes.extend(self.record(SessionState::Stopping).await.err());
        session.end("its scenario has ended").await;
        // Nobody is left that could hold the pipes.
        drop(session);
        findings.into_verdict(came).await
    }

    fn context(&self, seed: u64) -> Context {
        Context {
            session_id: self.owned.id().clone(),
            session_name: self.owned.name().clone(),
            session_dir: self.owned.dir().root().to_owned(),
            seed,
            host_env: self.config.host.env.clone(),
            leased: None,
        }
    }

    /// With ports that are leased for it.
    async fn plan_shared(&self, context: Context) -> Result<(Plan, Ground), String> {
        let id = self.owned.id().clone();
        let prepared = blocking(self.config, move |config| {
            let leases = SessionLeases { store: Arc::clone(&config.store), id };
            let ports = shared::candidates(config.host.ports.as_ref(), (config.host.random.0)());
            let programs: Arc<dyn Programs + Send + Sync> = Arc::clone(&config.host.programs);
            shared::prepare(&config.stack, context, programs, Arc::new(leases), ports)
        });
        prepared.await.map_err(|error| whole(&error))
    }

    fn plan(&self, context: &Context) -> Result<Plan, String> {
        let plan = self.config.stack.plan(context, &*self.config.host.programs);
        let mut plan = plan.map_err(|error| whole(&error))?;
        if let Some(home) = plan.suites[self.attempt.scenario.suite].home {
            plan.home = home;
        }
        Ok(plan)
    }

    fn session_config(&self, plan: &Arc<Plan>, ground: Option<Ground>, seed: u64) -> Config {
        let host = &self.config.host;
        Config {
            plan: Arc::clone(plan),
            shared: ground,
            id: self.owned.id().clone(),
            name: self.owned.name().clone(),
            dir: self.owned.dir().root().to_owned(),
            artifacts: self.owned.dir().artifacts(),
            control_socket: self.config.runtime_dir.socket(self.owned.id()),
            program: host.program.clone(),
            user: host.user.clone(),
            visible: host.visible.clone(),
            concealed: vec![
                self.config.store.state_dir().to_owned(),
                self.config.runtime_dir.path().to_owned(),
            ],
            groups_file: self.owned.dir().control_groups(),
            numbers: Numbers::Free,
            metrics: None,
            edition: Some(Edition::new(
                self.config.stack.given().clone(),
                seed,
                plan.host_env.clone(),
                false,
            )),
            expiry_file: self.owned.dir().expiry(),
            clock: host.clock.clone(),
            alone: false,
        }
    }

    async fn in_session(
        &self,
        session: &Session,
        suite: &SuitePlan,
        seed: u64,
        findings: &mut Findings,
        end: &mut watch::Receiver<bool>,
    ) -> Came {
        tokio::select! {
            ready = session.ready() => {
                if let Err(not_ready) = ready {
                    return Came::not_ready(not_ready);
                }
            }
            () = told(end) => return Came::cancelled(),
        }
        findings.notes.extend(self.record(SessionState::Ready).await.err());
        let mut env = self.environment(suite, seed);
        if let Some(argv) = &suite.setup {
            match self.set_up(session, argv, env.clone(), findings, end).await {
                Ok(exports) => env.extend(exports),
                Err(came) => return came,
            }
            // What is belljar's own is not the setup's to change.
            env.extend(self.own_variables(seed));
        }
        let argv = vec![self.attempt.scenario.path.display().to_string()];
        let (capture, stdio) = match self.capture("scenario.log") {
            Ok(started) => started,
            Err(why) => return Came::setup_failed(why),
        };
        findings.scenario = Some(capture);
        let spec = self.spec(argv, env);
        let finished = self.command(session, spec, stdio, &mut findings.notes, end).await;
        let mut came = self.judge(finished);
        if !matches!(came.outcome, AttemptOutcome::Passed | AttemptOutcome::Cancelled) {
            came.culprit = culprit(session).await;
        }
        came
    }

    /// Runs the suite's setup, and returns what it exports.
    async fn set_up(
        &self,
        session: &Session,
        argv: &[String],
        mut env: BTreeMap<String, String>,
        findings: &mut Findings,
        end: &mut watch::Receiver<bool>,
    ) -> Result<BTreeMap<String, String>, Came> {
        let socket = self.config.runtime_dir.socket(self.owned.id());
        let dir = socket.parent().unwrap_or(Path::new("/"));
        env.insert("BELLJAR_EXPORTS".to_owned(), dir.join(exports::FILE).display().to_string());
        let made = artifacts::create(dir, Path::new(exports::FILE));
        made.map_err(|error| Came::setup_failed(whole(&error)))?;
        let (capture, stdio) = self.capture("setup.log").map_err(Came::setup_failed)?;
        findings.setup = Some(capture);
        let spec = self.spec(argv.to_vec(), env);
        let finished = self.command(session, spec, stdio, &mut findings.notes, end).await;
        let why = match finished {
            Finished::Exited(exit) if exit.is_success() => {
                let exported = exports::read(dir);
                return exported.map_err(|error| Came::setup_failed(whole(&error)));
            }
            Finished::Exited(exit) => format!("setup: {exit}"),
            Finished::SessionEnded => "the session ended while setup ran".to_owned(),
            Finished::TimedOut => format!("setup did not end within {}", self.deadline()),
            Finished::ToldToEnd => return Err(Came::cancelled()),
            Finished::NotStarted(error) => format!("setup: {}", whole(&error)),
        };
        // Its last lines are added when all of them have been read.
        let culprit = Some(Culprit { name: "setup".to_owned(), last_lines: Vec::new() });
        Err(Came { culprit, ..Came::setup_failed(why) })
    }

    /// Runs a command in the session, at most until the deadline. What everything looked like then is kept.
    async fn command(
        &self,
        session: &Session,
        spec: CommandSpec,
        stdio: [OwnedFd; 3],
        notes: &mut Vec<String>,
        end: &mut watch::Receiver<bool>,
    ) -> Finished {
        let why = format!("`{}` did not end within {}", spec.argv.join(" "), self.deadline());
        let mut command = match session.command(spec, stdio).await {
            Ok(command) => command,
            Err(error) => return Finished::NotStarted(error),
        };
        tokio::select! {
            biased;
            exit = command.wait() => return exit.map_or(Finished::SessionEnded, Finished::Exited),
            () = told(end) => {
                command.kill().await;
                return Finished::ToldToEnd;
            }
            () = tokio::time::sleep(self.attempt.deadline) => {}
        }
        if let Err(error) = self.dump(session, &why).await {
            notes.push(format!(
                "the dump of {} cannot be written: {}",
                self.attempt.scenario.name,
                whole(&*error)
            ));
        }
        command.kill().await;
        Finished::TimedOut
    }

    async fn dump(&self, session: &Session, why: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
        let view = session.handle().view().await;
        let logs = self.owned.dir().logs();
        let artifacts_dir = self.owned.dir().artifacts();
        let why = why.to_owned();
        let written = move |_: &RunConfig| -> Result<(), Box<dyn Error + Send + Sync>> {
            let replicas =
                view.services.values().flat_map(|one| &one.replicas).map(|one| one.name.to_string());
            let tasks = view.tasks.keys().map(ToString::to_string);
            let mut lines = Vec::new();
            for name in replicas.chain(tasks) {
                let mut reader = LogReader::new(logs.clone(), vec![name]);
                reader.go_to_last(LAST_LINES)?;
                lines.extend(reader.read_new()?);
            }
            let mut file = artifacts::create(&artifacts_dir, Path::new("dump.txt"))?;
            file.write_all(dump::text(&why, &view, &lines).as_bytes())?;
            Ok(())
        };
        blocking(self.config, written).await
    }

    fn judge(&self, finished: Finished) -> Came {
        let (outcome, why) = match finished {
            Finished::Exited(exit) if exit.is_success() => return Came::passed(),
            Finished::Exited(exit) => (AttemptOutcome::Failed, exit.to_string()),
            Finished::SessionEnded => (AttemptOutcome::Failed, "its session ended while it ran".to_owned()),
            Finished::TimedOut => {
                (AttemptOutcome::TimedOut, format!("did not end within {}", self.deadline()))
            }
            Finished::ToldToEnd => return Came::cancelled(),
            Finished::NotStarted(error) => (AttemptOutcome::Failed, whole(&error)),
        };
        Came { outcome, why: Some(why), culprit: None }
    }

    /// A command in the session's own place, started in the stack's directory.
    fn spec(&self, argv: Vec<String>, env: BTreeMap<String, String>) -> CommandSpec {
        CommandSpec {
            replica: None,
            argv,
            env,
            cwd: self.config.stack.dir().to_owned(),
            busy: false,
            terminal: false,
        }
    }

    fn environment(&self, suite: &SuitePlan, seed: u64) -> BTreeMap<String, String> {
        let mut env = self.config.host.env.clone();
        env.extend(suite.env.clone());
        env.extend(self.own_variables(seed));
        env
    }

    /// What only a scenario is told. What every command of a session is told, the session adds.
    fn own_variables(&self, seed: u64) -> [(String, String); 4] {
        [
            ("BELLJAR_SCENARIO", self.attempt.scenario.name.to_string()),
            ("BELLJAR_RUN", self.attempt.run.clone()),
            ("BELLJAR_ATTEMPT", self.attempt.number.to_string()),
            ("BELLJAR_SEED", seed.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
    }

    fn capture(&self, name: &str) -> Result<(Capture, [OwnedFd; 3]), String> {
        let file = artifacts::create(&self.owned.dir().artifacts(), Path::new(name));
        let file = file.map_err(|error| whole(&error))?;
        Capture::start(file).map_err(|error| format!("{name} cannot be written: {error}"))
    }

    /// Tells `ls` what the session is doing. The error is for people.
    async fn record(&self, state: SessionState) -> Result<(), String> {
        let id = self.owned.id().clone();
        let recorded = blocking(self.config, move |config| config.store.set_state(&id, state)).await;
        recorded.map_err(|error| whole(&error))
    }

    fn deadline(&self) -> String {
        belljar_model::duration::short(self.attempt.deadline)
    }
}

impl Came {
    fn passed() -> Self {
        Self { outcome: AttemptOutcome::Passed, why: None, culprit: None }
    }

    fn cancelled() -> Self {
        Self { outcome: AttemptOutcome::Cancelled, why: None, culprit: None }
    }

    fn setup_failed(why: String) -> Self {
        Self { outcome: AttemptOutcome::SetupFailed, why: Some(why), culprit: None }
    }

    fn not_ready(error: NotReady) -> Self {
        let culprit = error.culprit.map(|(name, last_lines)| Culprit { name, last_lines });
        Self { culprit, ..Self::setup_failed(error.why) }
    }
}

impl Verdict {
    fn new(came: Came) -> Self {
        Self {
            outcome: came.outcome,
            duration: Duration::ZERO,
            why: came.why,
            session: None,
            kept: None,
            last_lines: Vec::new(),
            culprit: came.culprit,
            notes: Vec::new(),
        }
    }
}

impl Findings {
    /// Waits until everything that was said is in its file; a verdict that is not green gets the last of it.
    async fn into_verdict(self, came: Came) -> Verdict {
        let mut verdict = Verdict { notes: self.notes, ..Verdict::new(came) };
        let setup_is_last = self.scenario.is_none();
        if let Some(setup) = self.setup {
            match (setup.last_lines().await, &mut verdict.culprit) {
                (Ok(lines), Some(culprit)) if setup_is_last => culprit.last_lines = lines,
                (Ok(_), _) => {}
                (Err(error), _) => verdict.notes.push(format!("setup.log is not whole: {error}")),
            }
        }
        if let Some(scenario) = self.scenario {
            match scenario.last_lines().await {
                Ok(lines) if verdict.outcome != AttemptOutcome::Passed => verdict.last_lines = lines,
                Ok(_) => {}
                Err(error) => verdict.notes.push(format!("scenario.log is not whole: {error}")),
            }
        }
        verdict
    }
}

/// A replica that is down though nobody asked for it, or does not do what it should.
async fn culprit(session: &Session) -> Option<Culprit> {
    let view = session.handle().view().await;
    let bad = |state| matches!(state, ReplicaState::Failed | ReplicaState::Unhealthy);
    let mut replicas = view.services.into_values().flat_map(|service| service.replicas);
    let replica = replicas.find(|replica| bad(replica.state))?;
    Some(Culprit { name: replica.name.to_string(), last_lines: replica.last_lines })
}

/// Waits until it is told to end.
async fn told(end: &mut watch::Receiver<bool>) {
    if end.wait_for(|end| *end).await.is_err() {
        // Whoever could tell is gone, and with him goes this attempt.
        std::future::pending::<()>().await;
    }
}

/// An error with everything that led to it, in one line.
fn whole(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
