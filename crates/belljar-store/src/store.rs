//! The store itself: what can be asked of a state directory.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use belljar_model::{Selector, SessionId, SessionName, SessionState};
use rusqlite::Transaction;

use crate::by_stack;
use crate::clean::{self, CleanOptions, Cleaned};
use crate::error::StoreError;
use crate::lock::{self, Held};
use crate::name_wish::{self, NameWish};
use crate::registry::{Fail, Registry};
use crate::remove;
use crate::rows::{self, Places, Sessions};
use crate::run::{self, NewRun, RunDir, RunRecord};
use crate::session::{NewSession, OwnedSession, SessionDir, SessionRecord};

/// A state directory. It can be shared between threads; its calls block for microseconds.
#[derive(Debug)]
pub struct Store {
    state_dir: PathBuf,
    sessions_dir: PathBuf,
    runs_dir: PathBuf,
    registry: Registry,
}

impl Store {
    /// Opens a state directory to write in it. What is missing is made, an older registry is brought up to
    /// date, a newer or a damaged one is an error.
    pub fn open(state_dir: &Path) -> Result<Self, StoreError> {
        for dir in [state_dir.to_owned(), state_dir.join("sessions"), state_dir.join("runs")] {
            make_dirs(&dir)?;
        }
        Registry::open(state_dir).map(|registry| Self::new(state_dir, registry))
    }

    /// Opens a state directory to read. Nothing is made or changed, and where there is none there is `None`.
    pub fn open_existing(state_dir: &Path) -> Result<Option<Self>, StoreError> {
        let registry = Registry::open_existing(state_dir)?;
        Ok(registry.map(|registry| Self::new(state_dir, registry)))
    }

    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// Creates a session and takes its lock: it is alive from here to the end of the value.
    ///
    /// Its directory stands and its lock is held before anybody can know of it; the name is decided in one
    /// transaction with its registration, so of two who want the same exactly one gets it.
    pub fn create_session(&self, new: &NewSession) -> Result<OwnedSession, StoreError> {
        let dir = SessionDir::new(self.sessions_dir.join(new.id.as_str()));
        again_where_cleaned(|| {
            make_new_dir(dir.root(), || StoreError::SessionIdTaken { id: new.id.clone() })?;
            let created = self.create_in(new, &dir);
            if created.is_err() {
                // Nobody knows of it yet. What cannot be removed now, `clean` removes.
                drop(remove::tree(dir.root()));
            }
            created
        })
    }

    /// Every session that there is something left of, the newest last.
    pub fn sessions(&self) -> Result<Vec<SessionRecord>, StoreError> {
        self.select(Sessions::OldestFirst)
    }

    /// The session that is meant. A live one goes before one that is over, a newer before an older.
    pub fn find(&self, selector: &Selector) -> Result<Option<SessionRecord>, StoreError> {
        let mut found = match selector {
            Selector::Id(id) => self.select(Sessions::Id(id))?,
            Selector::Name(name) => self.select(Sessions::NamedNewestFirst(name.as_str()))?,
        };
        for index in 0..found.len() {
            if found[index].liveness()?.is_live() {
                return Ok(Some(found.swap_remove(index)));
            }
        }
        Ok(found.into_iter().next())
    }

    /// The live sessions that were started for this directory, the newest last.
    pub fn live_of(&self, origin: &Path) -> Result<Vec<SessionRecord>, StoreError> {
        let mut live = Vec::new();
        for record in self.sessions()? {
            if record.origin == origin && record.liveness()?.is_live() {
                live.push(record);
            }
        }
        Ok(live)
    }

    /// Records what a session is doing. Its end is told by [`Store::end_session`], its death by its lock.
    pub fn set_state(&self, id: &SessionId, state: SessionState) -> Result<(), StoreError> {
        if state.is_over() {
            return Err(StoreError::StateNotSettable { state });
        }
        self.registry.write(|transaction| {
            let update = "UPDATE sessions SET state = ?2 WHERE id = ?1 AND ended_ms IS NULL";
            if rows::execute(transaction, update, [id.as_str(), state.as_str()])? == 0 {
                let known = rows::Table::Sessions.has(transaction, id.as_str())?;
                let id = id.clone();
                let error =
                    if known { StoreError::SessionEnded { id } } else { StoreError::SessionNotFound { id } };
                return Err(error.into());
            }
            Ok(())
        })
    }

    /// Records that a session has ended in order. A kept one stays four times as long as others. Ending it again
    /// changes nothing.
    pub fn end_session(&self, id: &SessionId, now_ms: i64, keep: bool) -> Result<(), StoreError> {
        self.registry.write(|transaction| {
            let update = "UPDATE sessions SET state = 'ended', ended_ms = ?2, kept = ?3 \
                          WHERE id = ?1 AND ended_ms IS NULL";
            let ended = rows::execute(transaction, update, rusqlite::params![id.as_str(), now_ms, keep])?;
            if ended == 0 && !rows::Table::Sessions.has(transaction, id.as_str())? {
                return Err(StoreError::SessionNotFound { id: id.clone() }.into());
            }
            transaction.execute("DELETE FROM ports WHERE session = ?1", [id.as_str()])?;
            let record = self.record_of(transaction, id)?;
            self.relink_stack_of(transaction, record.as_ref())
        })
    }

    /// Removes the volumes of a session that has ended: its data is of no more use, its logs are.
    pub fn drop_volumes(&self, owned: &OwnedSession) -> Result<(), StoreError> {
        remove::tree(&owned.dir().volumes()).map(drop).map_err(clean::as_store_error)
    }

    /// Removes what is over and due, and nothing that is alive or younger than a minute.
    pub fn clean(&self, options: &CleanOptions) -> Result<Cleaned, StoreError> {
        clean::clean(self, options)
    }

    /// Creates a run and takes its lock: it is under way from here to the end of the value.
    pub fn create_run(&self, new: &NewRun) -> Result<RunDir, StoreError> {
        let refused = |reason| StoreError::RunIdRefused { id: new.id.clone(), reason };
        run::check_id(&new.id).map_err(refused)?;
        let root = self.runs_dir.join(&new.id);
        again_where_cleaned(|| {
            make_new_dir(&root, || refused("it has been used already"))?;
            let created = self.create_run_in(new, &root);
            if created.is_err() {
                drop(remove::tree(&root));
            }
            created
        })
    }

    /// Records that a run has ended, and what came of it in one line.
    pub fn end_run(&self, id: &str, now_ms: i64, summary: &str) -> Result<(), StoreError> {
        self.registry.write(|transaction| {
            let update = "UPDATE runs SET ended_ms = ?2, summary = ?3 WHERE id = ?1 AND ended_ms IS NULL";
            if rows::execute(transaction, update, rusqlite::params![id, now_ms, summary])? == 0 {
                return Err(StoreError::RunNotFound { id: id.to_owned() }.into());
            }
            Ok(())
        })
    }

    /// Every run that there is something left of, the newest last.
    pub fn runs(&self) -> Result<Vec<RunRecord>, StoreError> {
        self.registry.read(|connection, _| rows::runs(connection, self.places()))
    }

    /// The run of this id.
    pub fn find_run(&self, id: &str) -> Result<Option<RunRecord>, StoreError> {
        Ok(self.runs()?.into_iter().find(|run| run.id == id))
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(crate) fn sessions_dir(&self) -> &Path {
        &self.sessions_dir
    }

    pub(crate) fn runs_dir(&self) -> &Path {
        &self.runs_dir
    }

    /// Lets `latest` point to the newest session, or to nothing where there is none. Within a transaction,
    /// so that two who change it at once do it in the order of their sessions.
    pub(crate) fn point_latest_to_newest(&self, transaction: &Transaction<'_>) -> Result<(), Fail> {
        let newest = rows::sessions(transaction, crate::schema::CURRENT, self.places(), Sessions::Newest)?;
        match newest.first() {
            Some(record) => self.point_latest(&record.id)?,
            None => remove_latest(&self.latest())?,
        }
        Ok(())
    }

    fn new(state_dir: &Path, registry: Registry) -> Self {
        Self {
            state_dir: state_dir.to_owned(),
            sessions_dir: state_dir.join("sessions"),
            runs_dir: state_dir.join("runs"),
            registry,
        }
    }

    /// What the registry knows of a session.
    pub(crate) fn record_of(
        &self,
        transaction: &Transaction<'_>,
        id: &SessionId,
    ) -> Result<Option<SessionRecord>, Fail> {
        let found = rows::sessions(transaction, crate::schema::CURRENT, self.places(), Sessions::Id(id))?;
        Ok(found.into_iter().next())
    }

    pub(crate) fn places(&self) -> Places<'_> {
        Places { registry: self.registry.path(), sessions: &self.sessions_dir, runs: &self.runs_dir }
    }

    fn select(&self, which: Sessions<'_>) -> Result<Vec<SessionRecord>, StoreError> {
        self.registry.read(|connection, version| rows::sessions(connection, version, self.places(), which))
    }

    fn create_in(&self, new: &NewSession, dir: &SessionDir) -> Result<OwnedSession, StoreError> {
        let lock_path = dir.lock();
        let lock =
            Held::create(&lock_path).map_err(StoreError::unusable(&lock_path, "its lock cannot be made"))?;
        for dir in [dir.logs(), dir.artifacts()] {
            make_dirs(&dir)?;
        }
        let name = self.registry.write(|transaction| {
            let name = self.choose_name(transaction, &new.name)?;
            // A creator that slept for a minute has lost its directory to `clean`, and must not go on.
            if !lock.is_linked().map_err(StoreError::unusable(&lock_path, "it cannot be looked at"))? {
                return Err(StoreError::SessionRemoved { id: new.id.clone() }.into());
            }
            rows::insert_session(transaction, new, name.as_str())?;
            self.point_latest(&new.id)?;
            if by_stack::is_linked(Some(new.kind)) {
                self.link_stack(&new.stack, &new.id)?;
            }
            Ok(name)
        })?;
        Ok(OwnedSession { id: new.id.clone(), name, dir: dir.clone(), _lock: lock })
    }

    fn choose_name(&self, transaction: &Transaction<'_>, wish: &NameWish) -> Result<SessionName, Fail> {
        match wish {
            NameWish::Exactly(name) => match self.holder(transaction, name)? {
                None => Ok(name.clone()),
                Some(holder) => Err(StoreError::SessionNameTaken {
                    name: name.clone(),
                    holder: holder.id,
                    pid: holder.host_pid,
                    stack: holder.stack,
                }
                .into()),
            },
            NameWish::Like(text) => {
                for name in name_wish::like(text) {
                    if self.holder(transaction, &name)?.is_none() {
                        return Ok(name);
                    }
                }
                unreachable!("there is always a next number")
            }
        }
    }

    /// The live session that has this name.
    fn holder(
        &self,
        transaction: &Transaction<'_>,
        name: &SessionName,
    ) -> Result<Option<SessionRecord>, Fail> {
        let which = Sessions::NamedNewestFirst(name.as_str());
        for record in rows::sessions(transaction, crate::schema::CURRENT, self.places(), which)? {
            if record.liveness()?.is_live() {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    fn create_run_in(&self, new: &NewRun, root: &Path) -> Result<RunDir, StoreError> {
        let lock_path = root.join(lock::FILE_NAME);
        let lock =
            Held::create(&lock_path).map_err(StoreError::unusable(&lock_path, "its lock cannot be made"))?;
        self.registry.write(|transaction| {
            if !lock.is_linked().map_err(StoreError::unusable(&lock_path, "it cannot be looked at"))? {
                return Err(StoreError::RunRemoved { id: new.id.clone() }.into());
            }
            rows::insert_run(transaction, new)
        })?;
        Ok(RunDir { id: new.id.clone(), root: root.to_owned(), _lock: lock })
    }

    fn latest(&self) -> PathBuf {
        self.state_dir.join("latest")
    }

    /// Replaces `latest` in one step: whoever follows it finds the old session or the new one. Only within a
    /// transaction that writes.
    fn point_latest(&self, id: &SessionId) -> Result<(), StoreError> {
        let latest = self.latest();
        // One name is enough: whoever is here holds the registry's transaction. What a killed one left is replaced.
        let prepared = self.state_dir.join(".latest");
        let target = Path::new("sessions").join(id.as_str());
        let point = || {
            remove_if_there(&prepared)?;
            fs_err::os::unix::fs::symlink(&target, &prepared)?;
            fs_err::rename(&prepared, &latest)
        };
        point().map_err(StoreError::unusable(&latest, "it cannot be pointed to the newest session"))
    }
}

/// Creates something whose directory a `clean` may take for what a killed creator left: the creator slept, or the
/// clock jumped, for longer than the grace that a clean gives. Nobody has heard of it yet, so it is made anew.
fn again_where_cleaned<T>(mut create: impl FnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
    /// Each time it takes another such accident.
    const ATTEMPTS: usize = 20;
    for _ in 1..ATTEMPTS {
        match create() {
            Err(error) if error.is_of_a_clean() => {}
            done => return done,
        }
    }
    create()
}

fn remove_latest(latest: &Path) -> Result<(), StoreError> {
    remove_if_there(latest).map_err(StoreError::unusable(latest, "it cannot be removed"))
}

pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Makes a directory, and those above it, for their owner alone.
pub(crate) fn make_dirs(path: &Path) -> Result<(), StoreError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(StoreError::unusable(path, "it cannot be created"))
}

/// Makes a directory that must not be there yet.
fn make_new_dir(path: &Path, taken: impl FnOnce() -> StoreError) -> Result<(), StoreError> {
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(taken()),
        other => other.map_err(StoreError::unusable(path, "it cannot be created")),
    }
}
