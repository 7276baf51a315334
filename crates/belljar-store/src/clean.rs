//! Removing what is over: sessions that died, sessions and runs whose time has come, and directories that were
//! left between two steps by a process that was killed.
//!
//! Nothing is removed because of what it is called. It has to be in the registry, or carry a lock file of ours
//! that nobody holds, or be an empty directory where only ours are; it has to be older than [`GRACE`]; and its
//! lock has to be free. The files of a session go first, then its row, then its lock and directory: killed
//! anywhere between, a clean leaves something that the next one finds.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::by_stack;
use crate::error::StoreError;
use crate::groups;
use crate::lock::{self, Held};
use crate::remove::{self, RemoveError};
use crate::rows::Table;
use crate::run::RunRecord;
use crate::runtime_dir;
use crate::session::SessionRecord;
use crate::store::Store;

/// How long an ended session stays, where nobody says otherwise.
pub const DEFAULT_RETENTION: Duration = Duration::from_hours(7 * 24);

/// What was kept on purpose stays so many times longer, and then goes too: evidence without a limit fills disks.
const KEPT_FACTOR: u32 = 4;

/// Nothing younger is ever removed: whoever makes it may not be done yet.
pub const GRACE: Duration = Duration::from_mins(1);

/// What is to be removed.
#[derive(Debug, Clone)]
pub struct CleanOptions {
    /// Every ended session and run, kept ones too, whatever the retention.
    pub all: bool,
    /// Now, in milliseconds since 1970.
    pub now_ms: i64,
    /// How long an ended session stays; a kept one four times as long.
    pub retention: Duration,
}

/// What a clean did.
#[derive(Debug, Default)]
#[must_use = "what could not be removed is told here"]
pub struct Cleaned {
    pub removed: Vec<Removed>,
    /// What should have gone and did not. The rest was removed all the same.
    pub failures: Vec<CleanFailure>,
}

impl Cleaned {
    /// The space that was freed.
    pub fn bytes(&self) -> u64 {
        self.removed.iter().map(|one| one.bytes).sum()
    }
}

/// One thing that was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// The id of the session or run.
    pub id: String,
    pub what: RemovedWhat,
    pub bytes: u64,
}

/// What kind of thing was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemovedWhat {
    /// Its host process had been killed.
    DeadSession,
    EndedSession,
    /// A session's directory that the registry does not know: its creator was killed, or a clean was.
    Unregistered,
    Run,
}

/// One thing that could not be removed.
#[derive(Debug)]
pub struct CleanFailure {
    /// The id of the session or run.
    pub id: String,
    pub path: PathBuf,
    pub source: StoreError,
}

/// Removes what is due. Only a registry that cannot be read ends it early.
pub(crate) fn clean(store: &Store, options: &CleanOptions) -> Result<Cleaned, StoreError> {
    let mut cleaning = Cleaning { store, options, cleaned: Cleaned::default() };
    for record in store.sessions()? {
        let due = cleaning.is_session_due(&record);
        cleaning.take(record.id.as_str(), record.dir.root(), due, |cleaning, what| {
            if let Some(socket) = &record.control_socket {
                runtime_dir::remove_of(&record.id, socket).map_err(as_store_error)?;
            }
            cleaning.remove(Table::Sessions, record.id.as_str(), record.dir.root(), what)
        });
    }
    for record in store.runs()? {
        let due = cleaning.is_run_due(&record);
        cleaning.take(&record.id, &record.root, due, |cleaning, what| {
            cleaning.remove(Table::Runs, &record.id, &record.root, what)
        });
    }
    cleaning.unregistered(Table::Sessions, store.sessions_dir())?;
    cleaning.unregistered(Table::Runs, store.runs_dir())?;
    if !cleaning.cleaned.removed.is_empty() {
        store.registry().write(|transaction| {
            store.relink_stacks(transaction)?;
            store.point_latest_to_newest(transaction)
        })?;
    }
    Ok(cleaning.cleaned)
}

struct Cleaning<'a> {
    store: &'a Store,
    options: &'a CleanOptions,
    cleaned: Cleaned,
}

impl Cleaning<'_> {
    fn is_session_due(&self, record: &SessionRecord) -> Result<Option<RemovedWhat>, StoreError> {
        if !self.is_older(record.created_ms, GRACE) || record.is_held()? {
            return Ok(None);
        }
        let Some(ended_ms) = record.ended_ms else {
            return Ok(Some(RemovedWhat::DeadSession));
        };
        let stays = if record.kept { self.options.retention * KEPT_FACTOR } else { self.options.retention };
        let due = self.options.all || self.is_older(ended_ms, stays);
        Ok(due.then_some(RemovedWhat::EndedSession))
    }

    /// A run that was killed is evidence, and stays as long as one that ended.
    fn is_run_due(&self, record: &RunRecord) -> Result<Option<RemovedWhat>, StoreError> {
        if !self.is_older(record.started_ms, GRACE) || record.is_live()? {
            return Ok(None);
        }
        let over_ms = record.ended_ms.unwrap_or(record.started_ms);
        let due = self.options.all || self.is_older(over_ms, self.options.retention);
        Ok(due.then_some(RemovedWhat::Run))
    }

    /// Removes something where it is due, and writes down what came of it.
    fn take(
        &mut self,
        id: &str,
        path: &Path,
        due: Result<Option<RemovedWhat>, StoreError>,
        remove: impl FnOnce(&Self, RemovedWhat) -> Result<Option<Removed>, StoreError>,
    ) {
        let removed = match due {
            Ok(Some(what)) => remove(self, what),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        match removed {
            Ok(Some(removed)) => self.cleaned.removed.push(removed),
            Ok(None) => {}
            Err(source) => {
                let failure = CleanFailure { id: id.to_owned(), path: path.to_owned(), source };
                self.cleaned.failures.push(failure);
            }
        }
    }

    /// Removes the directory and the row of something that is over; `None` where another clean is at it or
    /// was faster.
    fn remove(
        &self,
        table: Table,
        id: &str,
        path: &Path,
        what: RemovedWhat,
    ) -> Result<Option<Removed>, StoreError> {
        let mut bytes = 0;
        // The lock of the directory itself is the claim: it says who cleans, and nothing about who lives.
        let mut claim = None;
        if let Some(dir) = remove::open_root(path).map_err(as_store_error)? {
            let claimed = Held::take(dir.into());
            match claimed.map_err(StoreError::unusable(path, "it cannot be claimed"))? {
                None => return Ok(None),
                Some(dir) => {
                    groups::remove_of(id, path).map_err(as_store_error)?;
                    bytes = contents_but_lock(dir.file(), path)?;
                    claim = Some(dir);
                }
            }
        }
        let was_there = self.store.registry().write(|transaction| table.delete(transaction, id))?;
        if claim.is_some() {
            remove_husk(path)?;
        }
        Ok(was_there.then(|| Removed { id: id.to_owned(), what, bytes }))
    }

    /// Directories that the registry does not know: their creator was killed before it could register them, or
    /// a clean was after it had removed their row.
    fn unregistered(&mut self, table: Table, place: &Path) -> Result<(), StoreError> {
        let cannot_list = |error| StoreError::unusable(place, "it cannot be listed")(error);
        for entry in fs_err::read_dir(place).map_err(cannot_list)? {
            let entry = entry.map_err(cannot_list)?;
            let path = entry.path();
            let Ok(id) = entry.file_name().into_string() else { continue };
            if id == by_stack::DIRECTORY {
                continue;
            }
            self.take(&id, &path, Ok(Some(RemovedWhat::Unregistered)), |cleaning, what| {
                cleaning.remove_unregistered(table, &id, &path, what)
            });
        }
        Ok(())
    }

    fn remove_unregistered(
        &self,
        table: Table,
        id: &str,
        path: &Path,
        what: RemovedWhat,
    ) -> Result<Option<Removed>, StoreError> {
        let Some((true, dir_ms)) = modified_ms(path)? else { return Ok(None) };
        if self.store.registry().read(|connection, _| table.has(connection, id))? {
            return Ok(None);
        }
        let Some(dir) = remove::open_root(path).map_err(as_store_error)? else { return Ok(None) };
        let claimed = Held::take(dir.into()).map_err(StoreError::unusable(path, "it cannot be claimed"))?;
        let Some(dir) = claimed else { return Ok(None) };

        let lock_path = path.join(lock::FILE_NAME);
        let Some((false, lock_ms)) = modified_ms(&lock_path)? else {
            // Its creator was killed before it had a lock. Only an empty one can be that.
            let removed = self.is_older(dir_ms, GRACE) && rustix::fs::rmdir(path).is_ok();
            return Ok(removed.then(|| Removed { id: id.to_owned(), what, bytes: 0 }));
        };
        if !self.is_older(lock_ms, GRACE) {
            return Ok(None);
        }
        let taken = Held::take_existing(&lock_path);
        let taken = taken.map_err(StoreError::unusable(&lock_path, "its lock cannot be tried"))?;
        // Whoever registers it holds the lock, so what the registry says from here on stays true.
        let Some(_taken) = taken else { return Ok(None) };
        if self.store.registry().read(|connection, _| table.has(connection, id))? {
            return Ok(None);
        }
        groups::remove_of(id, path).map_err(as_store_error)?;
        let bytes = contents_but_lock(dir.file(), path)?;
        remove_husk(path)?;
        Ok(Some(Removed { id: id.to_owned(), what, bytes }))
    }

    /// Whether a moment is that long ago. One that lies in the future, by whatever clock, is not.
    fn is_older(&self, moment_ms: i64, than: Duration) -> bool {
        let than = i64::try_from(than.as_millis()).unwrap_or(i64::MAX);
        self.options.now_ms.saturating_sub(moment_ms) >= than
    }
}

/// Removes everything in a directory but its lock, which is what makes the rest of it ours to remove.
fn contents_but_lock(dir: impl AsFd, path: &Path) -> Result<u64, StoreError> {
    remove::contents(dir, path, Some(OsStr::new(lock::FILE_NAME))).map_err(as_store_error)
}

/// Removes what [`contents_but_lock`] spared: the lock, and the directory around it.
fn remove_husk(path: &Path) -> Result<(), StoreError> {
    remove::file(&path.join(lock::FILE_NAME)).map_err(as_store_error)?;
    remove::remove_empty(path).map_err(as_store_error)
}

/// Whether it is a directory (`true`) or a file (`false`), and when it was last changed. `None` where it is
/// neither, or gone.
fn modified_ms(path: &Path) -> Result<Option<(bool, i64)>, StoreError> {
    match fs_err::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() || metadata.is_file() => {
            Ok(Some((metadata.is_dir(), metadata.mtime() * 1000 + metadata.mtime_nsec() / 1_000_000)))
        }
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::unusable(path, "it cannot be looked at")(error)),
    }
}

pub(crate) fn as_store_error(RemoveError { path, source }: RemoveError) -> StoreError {
    StoreError::StateDirUnusable { path, reason: "it cannot be removed", source }
}
