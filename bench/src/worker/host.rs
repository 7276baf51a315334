//! That process: what `belljar test` does for each attempt, but for the scenario.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use belljar_model::{SessionId, SessionName};
use belljar_sandbox::Zygote;
use belljar_session::logs::LogReader;
use belljar_session::{Config, Session, User, WallClock};
use belljar_stack::plan::Context;
use belljar_stack::{HostPrograms, RecipeBook, SourceFile, Stack};
use belljar_store::{NameWish, NewSession, OwnedSession, RuntimeDir, SessionKind, Store};
use rustix::time::{ClockId, clock_gettime};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::task::JoinSet;

use super::{Answer, Ask, Started};
use crate::measure::milliseconds;

/// For people, like everything that goes wrong here: the process that asked reports it.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Carries sessions until there is nothing more to do. The caller has a single thread.
pub(crate) fn run(stack_dir: &Path, state_dir: &Path, slots: usize) -> Result<()> {
    // First of all: sessions are cloned from this process, and cloning beside threads is unsound.
    let zygote = Zygote::fork()?;
    let host = Arc::new(Host::new(zygote, stack_dir, state_dir)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        if slots > 0 {
            host.keep_networks(slots)?;
        }
        let mut asks = BufReader::new(tokio::io::stdin()).lines();
        while let Some(line) = asks.next_line().await? {
            let answer = match Host::answer(&host, serde_json::from_str(&line)?).await {
                Ok(answer) => answer,
                Err(error) => Answer::Failed(error.to_string()),
            };
            let mut line = serde_json::to_string(&answer)?;
            line.push('\n');
            std::io::stdout().write_all(line.as_bytes())?;
        }
        Ok(())
    })
}

struct Host {
    zygote: Arc<Zygote>,
    store: Store,
    runtime_dir: RuntimeDir,
    stack_file: PathBuf,
    stack: Stack,
    programs: HostPrograms,
    env: BTreeMap<String, String>,
}

/// A session that is ready.
struct Ready {
    session: Session,
    owned: OwnedSession,
    /// When each of its events happened, in nanoseconds of the machine's own clock.
    moments: Arc<Mutex<Vec<i64>>>,
}

impl Host {
    fn new(zygote: Zygote, stack_dir: &Path, state_dir: &Path) -> Result<Self> {
        let stack_file = stack_dir.join("belljar.toml");
        let text = fs_err::read_to_string(&stack_file)?;
        let source = SourceFile { path: stack_file.clone(), text };
        let runtime = state_dir.join("run");
        fs_err::create_dir_all(&runtime)?;
        fs_err::set_permissions(&runtime, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        let env: BTreeMap<String, String> = ["PATH", "HOME", "USER", "LANG"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
            .collect();
        Ok(Self {
            zygote: Arc::new(zygote),
            store: Store::open(state_dir)?,
            runtime_dir: RuntimeDir::choose(&[runtime], uid())?,
            stack: Stack::parse(&source, &RecipeBook::builtin())?,
            stack_file,
            programs: HostPrograms { path: env.get("PATH").cloned().unwrap_or_default() },
            env,
        })
    }

    fn keep_networks(&self, slots: usize) -> Result<()> {
        let context = self.context(SessionId::from_random(0), "plan".parse()?, Path::new("/"));
        let plan = self.stack.plan(&context, &self.programs)?;
        Ok(self.zygote.prepare(&belljar_session::network(&plan), slots)?)
    }

    async fn answer(this: &Arc<Self>, ask: Ask) -> Result<Answer> {
        match ask {
            Ask::Start(sessions) => Self::start_all(this, sessions).await.map(Answer::Started),
            Ask::Sustain { at_once, millis } => {
                let ended_ms = Self::sustain(this, at_once, std::time::Duration::from_millis(millis)).await?;
                Ok(Answer::Sustained { ended_ms })
            }
        }
    }

    async fn start_all(this: &Arc<Self>, sessions: usize) -> Result<Started> {
        let begun = Instant::now();
        let mut starting = JoinSet::new();
        for _ in 0..sessions {
            let host = Arc::clone(this);
            starting.spawn(async move { host.start().await });
        }
        let mut ready = Vec::with_capacity(sessions);
        while let Some(one) = starting.join_next().await {
            ready.push(one??);
        }
        let mut started = Started { all_ready: milliseconds(begun.elapsed()), ..Started::default() };
        let mut ending = JoinSet::new();
        for one in ready {
            let host = Arc::clone(this);
            ending.spawn(async move { host.end(one).await });
        }
        while let Some(one) = ending.join_next().await {
            let (ended, given_back, noticed) = one??;
            started.ended.push(ended);
            started.given_back.push(given_back);
            started.noticed.extend(noticed);
        }
        Ok(started)
    }

    async fn sustain(this: &Arc<Self>, at_once: usize, time: std::time::Duration) -> Result<Vec<f64>> {
        let begun = Instant::now();
        let mut lanes = JoinSet::new();
        for _ in 0..at_once {
            let host = Arc::clone(this);
            lanes.spawn(async move {
                let mut ended = Vec::new();
                while begun.elapsed() < time {
                    let ready = host.start().await?;
                    host.end(ready).await?;
                    ended.push(milliseconds(begun.elapsed()));
                }
                Result::Ok(ended)
            });
        }
        let mut ended = Vec::new();
        while let Some(lane) = lanes.join_next().await {
            ended.extend(lane??);
        }
        Ok(ended)
    }

    /// From the request until all replicas listen and are known to.
    async fn start(self: &Arc<Self>) -> Result<Ready> {
        let owned = self.blocking(Self::register).await?;
        let context = self.context(owned.id().clone(), owned.name().clone(), owned.dir().root());
        let plan = Arc::new(self.stack.plan(&context, &self.programs)?);
        let moments = Arc::new(Mutex::new(Vec::new()));
        let program = std::env::current_exe()?;
        let config = Config {
            shared: None,
            plan,
            id: owned.id().clone(),
            name: owned.name().clone(),
            dir: owned.dir().root().to_owned(),
            artifacts: owned.dir().artifacts(),
            control_socket: self.runtime_dir.socket(owned.id()),
            visible: program.parent().map(Path::to_owned).into_iter().collect(),
            program,
            user: User { name: "bench".to_owned(), home: PathBuf::from("/") },
            concealed: vec![self.store.state_dir().to_owned(), self.runtime_dir.path().to_owned()],
            groups_file: owned.dir().control_groups(),
            numbers: belljar_session::ports::Numbers::Free,
            metrics: None,
            edition: None,
            expiry_file: owned.dir().expiry(),
            clock: noting(&moments),
            alone: false,
        };
        let session = Session::launch(&self.zygote, config).await?;
        session.ready().await?;
        Ok(Ready { session, owned, moments })
    }

    /// Ends it, and says how long it took to its end, and until nothing was left of it; and how late each
    /// replica's readiness was noticed.
    async fn end(self: &Arc<Self>, ready: Ready) -> Result<(f64, f64, Vec<f64>)> {
        let Ready { session, owned, moments } = ready;
        let begun = Instant::now();
        session.end("it was measured").await;
        let ended = milliseconds(begun.elapsed());
        drop(session);
        let noticed = noticed(&owned, &moments.lock().unwrap_or_else(PoisonError::into_inner))?;
        let begun = Instant::now();
        self.blocking(move |host| host.give_back(owned)).await?;
        Ok((ended, ended + milliseconds(begun.elapsed()), noticed))
    }

    fn register(&self) -> Result<OwnedSession> {
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let id = SessionId::from_random(u64::from_ne_bytes(random));
        let owned = self.store.create_session(&NewSession {
            control_socket: self.runtime_dir.socket(&id),
            id,
            name: NameWish::Like(self.stack.name().to_string()),
            stack: self.stack.name().clone(),
            stack_file: self.stack_file.clone(),
            origin: self.stack.dir().to_owned(),
            owner_uid: uid(),
            host_pid: std::process::id(),
            created_ms: jiff::Timestamp::now().as_millisecond(),
            kind: SessionKind::Test,
        })?;
        self.runtime_dir.create_session(owned.id())?;
        Ok(owned)
    }

    fn give_back(&self, owned: OwnedSession) -> Result<()> {
        self.runtime_dir.remove_session(owned.id())?;
        self.store.end_session(owned.id(), jiff::Timestamp::now().as_millisecond(), false)?;
        Ok(self.store.discard_session(owned)?)
    }

    fn context(&self, session_id: SessionId, session_name: SessionName, dir: &Path) -> Context {
        Context {
            session_id,
            session_name,
            session_dir: dir.to_owned(),
            seed: 1,
            host_env: self.env.clone(),
            leased: None,
        }
    }

    /// The store's calls wait for the disk and for each other.
    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let host = Arc::clone(self);
        tokio::task::spawn_blocking(move || work(&host)).await?
    }
}

/// A clock that remembers when it was looked at. A timeline does so once for every event, as it happens.
fn noting(moments: &Arc<Mutex<Vec<i64>>>) -> WallClock {
    let moments = Arc::clone(moments);
    WallClock(Arc::new(move || {
        let now = clock_gettime(ClockId::Monotonic);
        let nanos = now.tv_sec * 1_000_000_000 + now.tv_nsec;
        moments.lock().unwrap_or_else(PoisonError::into_inner).push(nanos);
        jiff::Timestamp::now()
    }))
}

/// How many milliseconds after listen() returned each replica's `replica.ready` happened. Only of replicas that
/// say when they listened.
fn noticed(owned: &OwnedSession, moments: &[i64]) -> Result<Vec<f64>> {
    let events = fs_err::read_to_string(owned.dir().root().join("events.jsonl"))?;
    let mut lines = LogReader::new(owned.dir().logs(), Vec::new());
    let mut listened = BTreeMap::new();
    loop {
        let more = lines.read_new()?;
        if more.is_empty() {
            break;
        }
        for line in more {
            if let Some(nanos) = line.line.strip_prefix("listening at ") {
                listened.insert(line.from, nanos.parse::<i64>()?);
            }
        }
    }
    let mut noticed = Vec::new();
    for (event, moment) in events.lines().zip(moments) {
        let event: serde_json::Value = serde_json::from_str(event)?;
        if event["kind"] == "replica.ready"
            && let Some(listened) = event["replica"].as_str().and_then(|name| listened.get(name))
        {
            // It may be known before the server gets to look at its clock.
            let micros = u32::try_from(((moment - listened) / 1_000).max(0))?;
            noticed.push(f64::from(micros) / 1e3);
        }
    }
    Ok(noticed)
}

fn uid() -> u32 {
    rustix::process::getuid().as_raw()
}
