//! The registry's file and connection: opening, creating, locking, and telling damage from other failures.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode as SqliteCode, OpenFlags, Transaction, TransactionBehavior};

use crate::error::StoreError;
use crate::schema;

/// The registry's file in the state directory.
const FILE_NAME: &str = "registry.sqlite";

/// Rows are short, and whatever changes a few of them writes their whole pages to the log.
const PAGE_BYTES: u32 = 1024;

/// The log is written back into the file when it has grown to this many pages. Whoever is the first to open the
/// registry reads the log whole, which every command pays; writing it back waits for the disk, which one in some
/// dozens of sessions pays.
const LONGEST_LOG: u32 = 400;

/// The registry of one state directory.
///
/// Its file must never be opened by other means in this process: closing any descriptor of it would drop
/// SQLite's own locks.
#[derive(Debug)]
pub(crate) struct Registry {
    path: PathBuf,
    connection: Mutex<Connection>,
    access: Access,
}

/// What a connection was opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// The schema is the current one.
    Write,
    /// The schema is what the file has.
    Read { version: i64 },
}

impl Registry {
    /// Opens the registry of `state_dir` for reading and writing; makes it, or brings it to the current
    /// schema, where needed.
    pub(crate) fn open(state_dir: &Path) -> Result<Self, StoreError> {
        let path = state_dir.join(FILE_NAME);
        if !exists(&path)? {
            create(state_dir, &path)?;
        }
        let registry = Self { connection: Mutex::new(connect_to_write(&path)?), path, access: Access::Write };
        let found = registry.read(|connection, _| schema::version(connection, &registry.path))?;
        if found < schema::CURRENT {
            // Asked again inside of the transaction: another process may have been faster.
            registry.write(|transaction| {
                let found = schema::version(transaction, &registry.path)?;
                if found == schema::CURRENT {
                    return Ok(());
                }
                // A migration rewrites pages: on a damaged one it would spoil what can still be read.
                let verdict: String =
                    transaction.query_one("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
                if verdict != "ok" {
                    return Err(StoreError::corrupt(&registry.path, verdict).into());
                }
                schema::migrate(transaction, found)
            })?;
        }
        Ok(registry)
    }

    /// Opens the registry of `state_dir` for reading, where there is one. Nothing is created or migrated.
    pub(crate) fn open_existing(state_dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = state_dir.join(FILE_NAME);
        if !exists(&path)? {
            return Ok(None);
        }
        let connection = connect_to_read(&path)?;
        let version = schema::version(&connection, &path).map_err(|fail| fail.into_error(&path))?;
        Ok(Some(Self { path, connection: Mutex::new(connection), access: Access::Read { version } }))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Asks the registry; `work` is told the schema's version.
    pub(crate) fn read<T>(
        &self,
        work: impl FnOnce(&Connection, i64) -> Result<T, Fail>,
    ) -> Result<T, StoreError> {
        let version = match self.access {
            Access::Write => schema::CURRENT,
            Access::Read { version } => version,
        };
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        work(&connection, version).map_err(|fail| fail.into_error(&self.path))
    }

    /// Does `work` in one transaction that excludes every other writer from its beginning, so that what it
    /// reads stays true until it has written. An error undoes all of it.
    pub(crate) fn write<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Fail>,
    ) -> Result<T, StoreError> {
        if self.access != Access::Write {
            return Err(StoreError::ReadOnly);
        }
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let in_transaction = || {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        };
        in_transaction().map_err(|fail: Fail| fail.into_error(&self.path))
    }
}

/// What fails inside of a transaction: SQLite itself, or what was asked of it.
#[derive(Debug)]
pub(crate) enum Fail {
    Sqlite(rusqlite::Error),
    Store(StoreError),
}

impl From<rusqlite::Error> for Fail {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<StoreError> for Fail {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Fail {
    fn into_error(self, path: &Path) -> StoreError {
        match self {
            Self::Store(error) => error,
            Self::Sqlite(error) => sqlite_error(path, error),
        }
    }
}

/// Damage is told from a disk that is full or a file that may not be opened: only the first is no accident of
/// the moment.
fn sqlite_error(path: &Path, source: rusqlite::Error) -> StoreError {
    const OTHER_TABLES: &str = "its tables are not what belljar makes";
    let what = match &source {
        rusqlite::Error::SqliteFailure(failure, _) => match failure.code {
            SqliteCode::NotADatabase => Some("it is not an SQLite database"),
            SqliteCode::DatabaseCorrupt => Some("SQLite finds it malformed"),
            // The queries are this program's own, and what may be taken already has been looked at before: what
            // does not fit them is the file.
            SqliteCode::Unknown | SqliteCode::ConstraintViolation | SqliteCode::TypeMismatch => {
                Some(OTHER_TABLES)
            }
            _ => None,
        },
        rusqlite::Error::SqlInputError { .. } => Some(OTHER_TABLES),
        rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::Utf8Error(..)
        | rusqlite::Error::IntegralValueOutOfRange(..) => Some("a value is not of its column's kind"),
        _ => None,
    };
    match what {
        Some(what) => StoreError::StoreCorrupt {
            path: path.to_owned(),
            what: what.to_owned(),
            source: Some(Box::new(source)),
        },
        None => StoreError::RegistryUnusable { path: path.to_owned(), source },
    }
}

/// Whether the file is there. A file of no bytes is no fresh registry but a damaged one: registries appear
/// whole, by a rename.
fn exists(path: &Path) -> Result<bool, StoreError> {
    match fs_err::metadata(path) {
        Ok(metadata) if !metadata.is_file() => Err(StoreError::corrupt(path, "it is not a file")),
        // To SQLite a file of one byte is as empty, and the log beside it of no use: it would remove that.
        Ok(metadata) if metadata.len() <= 1 => Err(StoreError::corrupt(path, "it is empty")),
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::unusable(path, "it cannot be looked at")(error)),
    }
}

/// Makes a registry beside its place and moves it there, so that nobody ever sees half of one.
fn create(state_dir: &Path, path: &Path) -> Result<(), StoreError> {
    let lock_path = state_dir.join("registry.lock");
    let unusable = StoreError::unusable(&lock_path, "it cannot be locked");
    let lock = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
    let lock = lock.and_then(|lock| lock.lock().map(|()| lock)).map_err(unusable)?;
    if exists(path)? {
        return Ok(());
    }
    // What a creator left that was killed here; the lock says that it is nobody's now.
    let fresh = state_dir.join("registry.sqlite.new");
    for suffix in ["", "-wal", "-shm"] {
        remove_if_there(&state_dir.join(format!("registry.sqlite.new{suffix}")))?;
    }
    let build = || -> Result<(), Fail> {
        let mut connection = Connection::open(&fresh)?;
        connection.execute_batch(&format!(
            "PRAGMA page_size = {PAGE_BYTES}; PRAGMA journal_mode = MEMORY; PRAGMA synchronous = NORMAL;"
        ))?;
        let transaction = connection.transaction()?;
        schema::migrate(&transaction, 0)?;
        transaction.commit()?;
        set_wal(&connection)?;
        connection.close().map_err(|(_, error)| error)?;
        Ok(())
    };
    build().map_err(|fail| fail.into_error(&fresh))?;
    fs_err::rename(&fresh, path).map_err(StoreError::unusable(path, "it cannot be put in its place"))?;
    drop(lock);
    Ok(())
}

fn connect_to_write(path: &Path) -> Result<Connection, StoreError> {
    let connect = || {
        let mut connection = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        connection.busy_handler(Some(wait_a_little))?;
        set_wal(&connection)?;
        // A registry survives the death of its writers without a sync; only a power cut may take the last
        // few rows, and the locks of those sessions are gone then too.
        connection.execute_batch(&format!(
            "PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = {LONGEST_LOG};"
        ))?;
        // The log and its index stay when the last writer closes: a reader then finds them, and need not
        // create them to look.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        Ok(connection)
    };
    connect().map_err(|error| sqlite_error(path, error))
}

fn connect_to_read(path: &Path) -> Result<Connection, StoreError> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    // Without anything in a log there is no writer, and has been none since the file was made or copied. SQLite
    // would create the log to read; told that the file does not change, it does not. A log has to be read too,
    // whether its index was copied along or not: what was written last is nowhere else.
    let immutable = fs_err::metadata(Path::new(&log)).map_or(true, |log| log.len() == 0);
    let connect = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = if immutable {
            Connection::open_with_flags(immutable_uri(path), flags | OpenFlags::SQLITE_OPEN_URI)?
        } else {
            Connection::open_with_flags(path, flags)?
        };
        connection.busy_handler(Some(wait_a_little))?;
        Ok(connection)
    };
    connect().map_err(|error| sqlite_error(path, error))
}

/// `file:PATH?immutable=1`, with every byte of the path escaped that could mean something else.
fn immutable_uri(path: &Path) -> PathBuf {
    use std::fmt::Write as _;
    let mut uri = "file:".to_owned();
    for &byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            write!(uri, "%{byte:02X}").expect("writing to a string does not fail");
        }
    }
    uri.push_str("?immutable=1");
    PathBuf::from(uri)
}

fn set_wal(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_one("PRAGMA journal_mode = WAL", [], |_| Ok(()))
}

fn remove_if_there(path: &Path) -> Result<(), StoreError> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::unusable(path, "it cannot be removed")(error))
        }
        _ => Ok(()),
    }
}

/// Waits for another writer. SQLite's own handler sleeps ever longer and lets a contended writer wait for
/// twenty times as long as there is need; a transaction here takes microseconds, so short even steps win.
fn wait_a_little(attempt: i32) -> bool {
    /// 1.5 seconds in short steps, then half a minute in longer ones.
    const SHORT: i32 = 10_000;
    const LONG: i32 = 30_000;
    let step = if attempt < SHORT { Duration::from_micros(150) } else { Duration::from_millis(1) };
    #[expect(clippy::disallowed_methods, reason = "SQLite tells nobody when its lock is free")]
    std::thread::sleep(step);
    attempt < SHORT + LONG
}
