//! Changes of one session's stack, one after another: from another edition of it, or from a wish for other numbers
//! of replicas, to a plan that the supervisor is asked to carry out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use belljar_client::wire::{Applied, ErrorView};
use belljar_model::{ErrorCode, ServiceName, SessionId, SessionName};
use belljar_stack::plan::{Places, Plan};
use belljar_stack::{Edits, Faults, PlanError};
use tokio::sync::{Mutex, watch};

use crate::driver::Handle;
use crate::edition::{Edition, EditionError};
use crate::machine::{Answer, Ask};
use crate::session;
use crate::timeline::WallClock;
use crate::watching::{self, Wish};

/// The file in a session's directory that keeps the edition in force.
const FILE: &str = "edition.json";

/// How long the first look at watched files may take.
const WATCHES_WITHIN: Duration = Duration::from_secs(30);

/// Directories that every session has its own of.
const COVERED: &[&str] = &["/tmp", "/run", "/dev/shm"];

/// Whoever wants another stack for a session comes here.
#[derive(Debug)]
pub(crate) struct Editor {
    of: Of,
    handle: Handle,
    /// Held for as long as a change takes: the next one begins from what came of it.
    current: Mutex<Current>,
    /// The plan whose files are watched, and the last wish of that kind that was served.
    watched: watch::Sender<Wish>,
    served: watch::Sender<u64>,
}

/// The session that it is for.
#[derive(Debug)]
pub(crate) struct Of {
    pub(crate) id: SessionId,
    pub(crate) name: SessionName,
    pub(crate) dir: PathBuf,
    pub(crate) expiry_file: PathBuf,
    pub(crate) clock: WallClock,
    /// It has leased ports of the host in place of a network of its own.
    pub(crate) is_shared: bool,
    /// Directories that stay visible where private ones cover the host's.
    pub(crate) shown: Vec<PathBuf>,
    /// Replicas that come may have volumes: there is a place that they can write to.
    pub(crate) takes_volumes: bool,
    /// The home directory, where it is covered too.
    pub(crate) private_home: Option<PathBuf>,
}

#[derive(Debug)]
struct Current {
    edition: Option<Edition>,
    plan: Arc<Plan>,
    places: Places,
}

impl Editor {
    pub(crate) fn new(of: Of, plan: Arc<Plan>, edition: Option<Edition>, handle: Handle) -> Self {
        let watches = edition.as_ref().is_some_and(|edition| edition.watch);
        let watched = watch::Sender::new((1, watches.then(|| Arc::clone(&plan))));
        let places = Places::of(&plan);
        let current = Mutex::new(Current { edition, plan, places });
        Self { of, handle, current, watched, served: watch::Sender::new(0) }
    }

    /// Watches files for as long as the session lives.
    pub(crate) async fn watch(self: Arc<Self>) {
        watching::watch(self.handle.clone(), self.watched.subscribe(), self.served.clone()).await;
    }

    /// Waits until whatever changes from now on is noticed, where files are watched.
    pub(crate) async fn watches(&self) {
        let number = self.watched.borrow().0;
        let mut served = self.served.subscribe();
        // Programs of any size have been read by then; whoever waits goes on all the same.
        let _ = tokio::time::timeout(WATCHES_WITHIN, served.wait_for(|last| *last >= number)).await;
    }

    /// Makes the session what the edition in a file of its directory says.
    pub(crate) async fn apply(&self, file: &str, dry: bool) -> Result<Applied, ErrorView> {
        let path = self.edition_file(file)?;
        let mut current = self.current.lock().await;
        let edition = Edition::read(&path).map_err(view)?;
        // It was written for this request alone. What cannot be removed now goes with the session.
        let _ = fs_err::remove_file(&path);
        let edition =
            edition.ok_or_else(|| refusal(ErrorCode::InvalidRequest, format!("there is no {file}")))?;
        if self.of.is_shared {
            return self.apply_shared(&mut current, edition, dry).await;
        }
        let mut plan = self.plan(&edition).await?;
        self.refuse_what_is_covered(&plan)?;
        let mut places = current.places.clone();
        places.settle(&mut plan).map_err(|service| no_place(&service))?;
        let plan = Arc::new(plan);
        let next = Current { edition: Some(edition), plan, places };
        self.carry_out(&mut current, next, dry).await
    }

    /// In shared isolation the stack stays what it was: units that come would need ports that nobody has leased.
    async fn apply_shared(
        &self,
        current: &mut Current,
        edition: Edition,
        dry: bool,
    ) -> Result<Applied, ErrorView> {
        let is_same = |now: &Edition| now.given == edition.given && now.host_env == edition.host_env;
        if !current.edition.as_ref().is_some_and(is_same) {
            return Err(self.refuse_in_shared_isolation());
        }
        if !dry {
            let next = Current {
                edition: Some(edition),
                plan: Arc::clone(&current.plan),
                places: current.places.clone(),
            };
            self.keep(current, next)?;
            self.watches().await;
        }
        Ok(Applied { changes: Vec::new(), session: self.handle.view().await })
    }

    fn refuse_in_shared_isolation(&self) -> ErrorView {
        let name = &self.of.name;
        let message = format!(
            "session {name} is in shared isolation, whose stack and replicas stay as they were started"
        );
        let mut error = refusal(ErrorCode::Unsupported, message);
        error
            .hints
            .push(format!("`belljar down {name}` ends it; `belljar up` then starts it as it is to be"));
        error
    }

    /// What a session shows of the host is decided when it is sealed. A program in a directory that it has its own
    /// of can be shown to the next session, not to this one.
    fn refuse_what_is_covered(&self, plan: &Plan) -> Result<(), ErrorView> {
        if !self.of.takes_volumes && session::keeps_data(plan) {
            let name = &self.of.name;
            let message = format!(
                "session {name} was started without volumes, and nothing outside of them can be written"
            );
            let mut error = refusal(ErrorCode::ChangeNeedsDown, message);
            error.hints.push(format!("`belljar down {name}` ends it; the next one has them"));
            return Err(error);
        }
        let is_shown = |dir: &Path| self.of.shown.iter().any(|shown| dir.starts_with(shown));
        let covers = COVERED.iter().map(Path::new).chain(self.of.private_home.as_deref());
        let covers: Vec<&Path> = covers.collect();
        let hidden = plan.program_dirs.iter().find_map(|dir| {
            let cover = covers.iter().find(|cover| dir.starts_with(cover))?;
            (!is_shown(dir)).then_some((dir, cover))
        });
        let Some((dir, cover)) = hidden else { return Ok(()) };
        let name = &self.of.name;
        let message = format!(
            "session {name} has a {} of its own, in which the programs of {} are not",
            cover.display(),
            dir.display()
        );
        let mut error = refusal(ErrorCode::ChangeNeedsDown, message);
        error.hints.push(format!(
            "`belljar down {name}` ends it; the next one shows them. Or put the program elsewhere"
        ));
        Err(error)
    }

    /// Gives services other numbers of replicas, and touches nothing else.
    pub(crate) async fn scale(&self, wanted: &BTreeMap<ServiceName, u16>) -> Result<Applied, ErrorView> {
        if self.of.is_shared {
            return Err(self.refuse_in_shared_isolation());
        }
        let mut current = self.current.lock().await;
        let Some(edition) = &current.edition else {
            let message = format!(
                "session {} was not started from a stack file that it could be changed by",
                self.of.name
            );
            return Err(refusal(ErrorCode::Unsupported, message));
        };
        let mut edition = edition.clone();
        let replicas = wanted.iter().map(|(service, count)| format!("{service}={count}")).collect();
        edition.given.edits = edition.given.edits.and(Edits { replicas, ..Edits::default() });
        let fresh = self.plan(&edition).await?;
        let mut plan = Plan::clone(&current.plan);
        for name in wanted.keys() {
            let service = plan.services.iter_mut().find(|one| one.name == *name);
            if let (Some(service), Some(fresh)) = (service, fresh.service(name)) {
                service.replicas.truncate(fresh.replicas.len());
                service.replicas.extend(fresh.replicas[service.replicas.len()..].iter().cloned());
            }
        }
        plan.command_env = fresh.command_env;
        let mut places = current.places.clone();
        places.settle(&mut plan).map_err(|service| no_place(&service))?;
        let next = Current { edition: Some(edition), plan: Arc::new(plan), places };
        self.carry_out(&mut current, next, false).await
    }

    async fn carry_out(&self, current: &mut Current, next: Current, dry: bool) -> Result<Applied, ErrorView> {
        let looked = self.ask(&next.plan, true).await?;
        let answer = if dry {
            looked
        } else {
            self.keep(current, next)?;
            let answer = self.ask(&current.plan, false).await?;
            self.watches().await;
            answer
        };
        match answer {
            Answer::Changed(changes) => Ok(Applied { changes, session: self.handle.view().await }),
            _ => Err(refusal(ErrorCode::Internal, "a change was answered as something else is".to_owned())),
        }
    }

    /// From here on this is the session's stack, also where not all of it comes up.
    fn keep(&self, current: &mut Current, next: Current) -> Result<(), ErrorView> {
        if let Some(edition) = &next.edition {
            edition.write(&self.of.dir.join(FILE)).map_err(view)?;
        }
        let watches = next.edition.as_ref().is_some_and(|edition| edition.watch);
        *current = next;
        let plan = watches.then(|| Arc::clone(&current.plan));
        self.watched.send_modify(|wish| *wish = (wish.0 + 1, plan));
        Ok(())
    }

    async fn ask(&self, plan: &Arc<Plan>, dry: bool) -> Result<Answer, ErrorView> {
        self.handle.ask(Ask::Apply { plan: Arc::clone(plan), dry }).await
    }

    /// Gives the session so long to live from now on.
    pub(crate) async fn expire(&self, within: Duration) -> Result<(), ErrorView> {
        self.handle.ask(Ask::Expire { within }).await?;
        let now_ms = (self.of.clock.0)().as_millisecond();
        let at = now_ms.saturating_add(i64::try_from(within.as_millis()).unwrap_or(i64::MAX));
        let write = || -> std::io::Result<()> {
            let fresh = self.of.expiry_file.with_extension("new");
            fs_err::write(&fresh, format!("{at}\n"))?;
            fs_err::rename(&fresh, &self.of.expiry_file)
        };
        write().map_err(|error| refusal(ErrorCode::StateDirUnusable, error.to_string()))
    }

    /// Reading and planning look at files.
    async fn plan(&self, edition: &Edition) -> Result<Plan, ErrorView> {
        let (edition, id, name, dir) =
            (edition.clone(), self.of.id.clone(), self.of.name.clone(), self.of.dir.clone());
        let planned = tokio::task::spawn_blocking(move || edition.plan(&id, &name, &dir)).await;
        planned.map_err(|error| refusal(ErrorCode::Internal, error.to_string()))?.map_err(view)
    }

    /// The file of an edition that waits to be taken over. Nothing but such a file can be named.
    fn edition_file(&self, name: &str) -> Result<PathBuf, ErrorView> {
        let number = name.strip_prefix("edition-").and_then(|rest| rest.strip_suffix(".json"));
        let is_one = number.is_some_and(|text| {
            !text.is_empty() && text.len() <= 32 && text.bytes().all(|b| b.is_ascii_hexdigit())
        });
        let refused =
            || refusal(ErrorCode::InvalidRequest, format!("`{name}` is not the name of an edition"));
        is_one.then(|| self.of.dir.join(Path::new(name))).ok_or_else(refused)
    }
}

fn no_place(service: &ServiceName) -> ErrorView {
    let message = format!("there are no addresses left for `{service}`");
    let mut error = refusal(ErrorCode::ChangeNeedsDown, message);
    error.hints.push(
        "a session has addresses for 254 services in its life; `belljar down` gives them back".to_owned(),
    );
    error
}

fn view(error: EditionError) -> ErrorView {
    let faults = |faults: &Faults| {
        let hints = faults.iter().filter_map(|fault| fault.help().map(str::to_owned)).collect();
        ErrorView { code: faults.code(), message: faults.to_string().trim_end().to_owned(), hints }
    };
    match &error {
        EditionError::Faults(found) | EditionError::Plan(PlanError::Faults(found)) => faults(found),
        other => {
            let source =
                std::error::Error::source(other).map_or_else(String::new, |source| format!(": {source}"));
            refusal(other.code(), format!("{other}{source}"))
        }
    }
}

fn refusal(code: ErrorCode, message: String) -> ErrorView {
    ErrorView { code, message, hints: Vec::new() }
}
