//! Carrying a session in this process: from a stack file to a launched session that the registry knows.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use belljar_model::{ErrorCode, SessionId, SessionState};
use belljar_runner::SessionLeases;
use belljar_sandbox::Zygote;
use belljar_session::ports::{Numbers, PortError};
use belljar_session::shared::{self, Ground};
use belljar_session::{Config, Edition, LaunchError, Session};
use belljar_stack::plan::{Context, Isolation, Plan};
use belljar_stack::{HostPrograms, Stack};
use belljar_store::{
    Liveness, NameWish, NewSession, OwnedSession, RuntimeDir, SessionKind, SessionRecord, Store,
};

use crate::app::App;
use crate::commands::fallback_note;
use crate::error::{CliError, Result, internal};
use crate::secrets::Secrets;

/// What a session is started from.
pub(crate) struct Launch {
    pub(crate) stack_file: PathBuf,
    pub(crate) stack: Stack,
    pub(crate) name: NameWish,
    pub(crate) kind: SessionKind,
    /// Where the metrics of all replicas are served, if they are: 0 for any free port.
    pub(crate) metrics: Option<u16>,
    /// Its services are started again when their programs change.
    pub(crate) watch: bool,
    /// However tight, else what the stack says, else as tight as can be.
    pub(crate) isolation: Option<Isolation>,
}

/// A session that lives in this process, and its place in the store.
pub(crate) struct Hosted {
    pub(crate) session: Session,
    pub(crate) owned: OwnedSession,
    /// It has carried this session and carries no other.
    zygote: Arc<Zygote>,
    store: Arc<Store>,
    runtime: RuntimeDir,
    keeper: tokio::task::JoinHandle<()>,
}

/// A number that nobody can guess.
pub(crate) fn random() -> Result<u64> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).map_err(internal)?;
    Ok(u64::from_ne_bytes(bytes))
}

/// The directory's name as a wish for a session's name: what does not fit is left out.
pub(crate) fn name_like(dir: &Path) -> String {
    let name = dir.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let kept: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let kept: String = kept.trim_matches('-').chars().take(36).collect();
    let kept = kept.trim_matches('-').to_owned();
    if kept.is_empty() { "session".to_owned() } else { kept }
}

/// What the planner is told about the session and this machine.
pub(crate) fn context(app: &App, owned: &OwnedSession, seed: u64) -> Context {
    planning_context(app, owned.id().clone(), owned.name().clone(), owned.dir().root().to_owned(), seed)
}

pub(crate) fn planning_context(
    app: &App,
    session_id: SessionId,
    session_name: belljar_model::SessionName,
    session_dir: PathBuf,
    seed: u64,
) -> Context {
    let mut host_env = app.env.all().clone();
    let user = app.user().name;
    for name in ["USER", "LOGNAME"] {
        host_env.insert(name.to_owned(), user.clone());
    }
    Context { session_id, session_name, session_dir, seed, host_env, leased: None }
}

pub(crate) fn programs(app: &App) -> HostPrograms {
    HostPrograms { path: app.env.path().to_owned() }
}

/// Host directories that stay visible in a session wherever they lie: where we are, and where programs are.
pub(crate) fn visible(app: &App) -> Result<Vec<PathBuf>> {
    let mut dirs = vec![app.cwd.clone()];
    dirs.extend(App::program()?.parent().map(Path::to_owned));
    dirs.extend(std::env::split_paths(app.env.path()).filter(|dir| dir.is_absolute()));
    Ok(dirs)
}

/// Plans, registers and launches. When it fails nothing stays, in the registry or elsewhere. `note` is told what
/// whoever asked should know.
pub(crate) async fn launch(
    app: &App,
    zygote: &Arc<Zygote>,
    launch: Launch,
    note: impl Fn(&str),
) -> Result<Hosted> {
    let store = Arc::new(app.store()?);
    let runtime = RuntimeDir::choose(&app.env.runtime_dirs(App::uid()), App::uid())?;
    let id = SessionId::from_random(random()?);
    let owned = store.create_session(&NewSession {
        id: id.clone(),
        name: launch.name.clone(),
        stack: launch.stack.name().clone(),
        stack_file: launch.stack_file.clone(),
        origin: launch.stack.dir().to_owned(),
        owner_uid: App::uid(),
        host_pid: std::process::id(),
        created_ms: app.now_ms(),
        kind: launch.kind,
        control_socket: runtime.socket(&id),
    })?;
    let asked = launch.isolation.or(launch.stack.isolation());
    let place = Launching {
        app,
        zygote,
        store: &store,
        stack: Arc::new(launch.stack),
        metrics: launch.metrics,
        watch: launch.watch,
        owned: &owned,
        runtime,
    };
    let launched = place.carry_out(asked, note).await;
    let runtime = place.runtime;
    match launched {
        Ok(session) => {
            let keeper = keep_state(&store, &session);
            Ok(Hosted { session, owned, zygote: Arc::clone(zygote), store, runtime, keeper })
        }
        Err(error) => {
            // What went wrong is more important than what goes wrong in tidying up after it.
            let _ = runtime.remove_session(&id);
            let _ = store.discard_session(owned);
            Err(error)
        }
    }
}

/// Where a port that was asked for belongs to another session, that one is named.
fn name_the_holder(error: LaunchError, store: &Store) -> CliError {
    let holder = match &error {
        LaunchError::Port(PortError::Taken { holder: Some(holder), .. }) => {
            holder.process.as_ref().and_then(|(pid, _)| u32::try_from(*pid).ok())
        }
        _ => None,
    };
    let error = CliError::from(error);
    let is_it =
        |one: &SessionRecord| Some(one.host_pid) == holder && one.liveness().is_ok_and(Liveness::is_live);
    match store.sessions().unwrap_or_default().iter().find(|one| is_it(one)) {
        Some(one) => {
            let hint =
                format!("that is session {} ({}): `belljar down {}` ends it", one.name, one.id, one.id);
            match error {
                // Before what is said to everybody.
                CliError::Failure(mut failure) => {
                    failure.hints.insert(0, hint);
                    CliError::Failure(failure)
                }
                other => other,
            }
        }
        None => error,
    }
}

/// A session that is registered and not launched yet.
struct Launching<'a> {
    app: &'a App,
    zygote: &'a Arc<Zygote>,
    store: &'a Arc<Store>,
    stack: Arc<Stack>,
    metrics: Option<u16>,
    watch: bool,
    owned: &'a OwnedSession,
    runtime: RuntimeDir,
}

impl Launching<'_> {
    async fn carry_out(&self, asked: Option<Isolation>, note: impl Fn(&str)) -> Result<Session> {
        self.runtime.create_session(self.owned.id())?;
        match asked {
            Some(isolation) => self.launch(isolation).await?.map_err(|error| self.told(error)),
            None => self.launch_as_tight_as_can_be(note).await,
        }
    }

    /// Sealed where this machine can. It is tried by doing it: only what has failed is looked into.
    async fn launch_as_tight_as_can_be(&self, note: impl Fn(&str)) -> Result<Session> {
        match self.launch(Isolation::Sealed).await? {
            Err(error) if error.is_refusal() => match belljar_sandbox::why_not_sealed() {
                Some(why) => {
                    note(&fallback_note(&why));
                    self.launch(Isolation::Shared).await?.map_err(|error| self.told(error))
                }
                None => Err(self.told(error)),
            },
            result => result.map_err(|error| self.told(error)),
        }
    }

    async fn launch(&self, isolation: Isolation) -> Result<std::result::Result<Session, LaunchError>> {
        let seed = random()?;
        let context = context(self.app, self.owned, seed);
        let (plan, shared) = match isolation {
            Isolation::Sealed => (self.stack.plan(&context, &programs(self.app))?, None),
            Isolation::Shared => {
                let leases = SessionLeases { store: Arc::clone(self.store), id: self.owned.id().clone() };
                let ports = shared::candidates(self.app.ports()?.as_ref(), random()?);
                let programs = Arc::new(programs(self.app));
                let (plan, ground) =
                    shared::prepare(&self.stack, context, programs, Arc::new(leases), ports)?;
                (plan, Some(ground))
            }
        };
        keep_plan(self.owned, &plan)?;
        let given = self.stack.given().clone();
        let edition = Edition::new(given, seed, plan.host_env.clone(), self.watch);
        edition.write(&self.owned.dir().edition())?;
        Ok(Session::launch(self.zygote, self.config(plan, shared, edition)?).await)
    }

    fn told(&self, error: LaunchError) -> CliError {
        name_the_holder(error, self.store)
    }

    fn config(&self, plan: Plan, shared: Option<Ground>, edition: Edition) -> Result<Config> {
        let Self { app, owned, runtime, .. } = self;
        Ok(Config {
            plan: Arc::new(plan),
            shared,
            id: owned.id().clone(),
            name: owned.name().clone(),
            dir: owned.dir().root().to_owned(),
            artifacts: owned.dir().artifacts(),
            control_socket: runtime.socket(owned.id()),
            program: App::program()?,
            user: app.user(),
            visible: visible(app)?,
            concealed: vec![app.state_dir.clone(), runtime.path().to_owned()],
            groups_file: owned.dir().control_groups(),
            numbers: Numbers::Asked,
            metrics: self.metrics,
            edition: Some(edition),
            expiry_file: owned.dir().expiry(),
            clock: app.clock(),
            alone: true,
        })
    }
}

/// Writes down what the session was started as, for whoever looks at it when it is over. Secrets are not kept.
fn keep_plan(owned: &OwnedSession, plan: &Plan) -> Result<()> {
    let document = crate::commands::plan::document(plan);
    let text = Secrets::of_plan(plan).redacted_text(&document.to_string());
    let path = owned.dir().plan();
    fs_err::write(path, text).map_err(|error| CliError::of(ErrorCode::StateDirUnusable, &error))
}

/// How long after a failure the registry is told again what the session does.
const TOLD_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Keeps the registry's idea of the session's state up to date. A disk that is full for a moment delays it, and no
/// more.
fn keep_state(store: &Arc<Store>, session: &Session) -> tokio::task::JoinHandle<()> {
    let mut states = session.handle().state();
    let dir = store.state_dir().to_owned();
    let shared = Arc::clone(store);
    let id = session.config().id.clone();
    tokio::spawn(async move {
        // The same connection: opening another takes as long as everything that is written through it.
        let mut store = Some(shared);
        loop {
            let state = *states.borrow_and_update();
            if state == SessionState::Ended {
                return;
            }
            if store.is_none() {
                store = Store::open(&dir).ok().map(Arc::new);
            }
            let told = store.as_ref().is_some_and(|store| store.set_state(&id, state).is_ok());
            let changed = if told {
                states.changed().await
            } else {
                // Whatever is wrong with the connection is not to be met again.
                store = None;
                tokio::time::timeout(TOLD_AGAIN_AFTER, states.changed()).await.unwrap_or(Ok(()))
            };
            if changed.is_err() {
                return;
            }
        }
    })
}

impl Hosted {
    /// Ends the session and says so in the registry. Its events, logs and artifacts stay where `keep` says so,
    /// until they are cleaned.
    pub(crate) async fn end(self, app: &App, why: &str, keep: bool) -> Result<()> {
        self.session.end(why).await;
        self.settle(app, keep)
    }

    /// Ends the session and removes every trace of it.
    pub(crate) async fn discard(self, app: &App, why: &str) -> Result<()> {
        self.end(app, why, false).await
    }

    /// Says in the registry that the session has ended, after it did.
    pub(crate) fn settle(self, app: &App, keep: bool) -> Result<()> {
        let Self { session, owned, zygote, store, runtime, keeper } = self;
        keeper.abort();
        // It dies while we write, and not while we wait for it.
        zygote.end();
        let id = owned.id().clone();
        drop(session);
        runtime.remove_session(&id)?;
        if !keep {
            return Ok(store.discard_session(owned)?);
        }
        store.end_session(&id, app.now_ms(), false)?;
        let dropped = store.drop_volumes(&owned);
        // The kernel lets go of the lock when this process has ended, zygote and all. Whoever waits for the lock,
        // as `down` does, waits for that.
        std::mem::forget(owned);
        Ok(dropped?)
    }
}
