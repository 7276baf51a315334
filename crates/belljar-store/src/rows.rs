//! Rows of the registry, in and out. Whatever does not have the form that belljar gives it is damage.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use belljar_model::{NameError, SessionId, SessionState};
use rusqlite::{Connection, OptionalExtension as _, Params, Row, Transaction, params};

use crate::error::StoreError;
use crate::registry::Fail;
use crate::run::{NewRun, RunRecord};
use crate::schema;
use crate::session::{NewSession, SessionDir, SessionKind, SessionRecord};

/// Where the records' directories are, and what damage is told of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places<'a> {
    pub(crate) registry: &'a Path,
    pub(crate) sessions: &'a Path,
    pub(crate) runs: &'a Path,
}

/// Which sessions, in which order.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sessions<'a> {
    OldestFirst,
    Id(&'a SessionId),
    NamedNewestFirst(&'a str),
    Newest,
    OfStackNewestFirst(&'a str),
}

/// The sessions of a registry that has schema `version`.
pub(crate) fn sessions(
    connection: &Connection,
    version: i64,
    places: Places<'_>,
    which: Sessions<'_>,
) -> Result<Vec<SessionRecord>, Fail> {
    let since = if version >= schema::WITH_KIND { "kind, control_socket" } else { "NULL, NULL" };
    let select = format!(
        "SELECT id, name, stack, stack_file, origin, owner_uid, host_pid, created_ms, state, ended_ms, kept, \
         {since} FROM sessions"
    );
    let session = |row: &Row<'_>| session(row, places);
    match which {
        Sessions::OldestFirst => collect(connection, &format!("{select} ORDER BY number"), [], session),
        Sessions::Id(id) => collect(connection, &format!("{select} WHERE id = ?1"), [id.as_str()], session),
        Sessions::NamedNewestFirst(name) => {
            collect(connection, &format!("{select} WHERE name = ?1 ORDER BY number DESC"), [name], session)
        }
        Sessions::OfStackNewestFirst(stack) => {
            let select = format!("{select} WHERE stack = ?1 AND ended_ms IS NULL ORDER BY number DESC");
            collect(connection, &select, [stack], session)
        }
        Sessions::Newest => {
            collect(connection, &format!("{select} ORDER BY number DESC LIMIT 1"), [], session)
        }
    }
}

/// The runs, oldest first.
pub(crate) fn runs(connection: &Connection, places: Places<'_>) -> Result<Vec<RunRecord>, Fail> {
    let select = "SELECT id, stack, origin, started_ms, ended_ms, summary FROM runs ORDER BY number";
    collect(connection, select, [], |row| run(row, places))
}

pub(crate) fn insert_session(
    transaction: &Transaction<'_>,
    new: &NewSession,
    name: &str,
) -> Result<(), Fail> {
    let insert = "INSERT INTO sessions (id, name, stack, stack_file, origin, owner_uid, host_pid, created_ms, \
                  state, kind, control_socket) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    let values = params![
        new.id.as_str(),
        name,
        new.stack.as_str(),
        bytes(&new.stack_file),
        bytes(&new.origin),
        new.owner_uid,
        new.host_pid,
        new.created_ms,
        SessionState::Starting.as_str(),
        new.kind.as_str(),
        bytes(&new.control_socket),
    ];
    let inserted = execute(transaction, insert, values);
    or_taken(inserted, || StoreError::SessionIdTaken { id: new.id.clone() })
}

pub(crate) fn insert_run(transaction: &Transaction<'_>, new: &NewRun) -> Result<(), Fail> {
    let insert = "INSERT INTO runs (id, stack, origin, started_ms) VALUES (?1, ?2, ?3, ?4)";
    let values = params![new.id, new.stack.as_str(), bytes(&new.origin), new.started_ms];
    let inserted = execute(transaction, insert, values);
    or_taken(inserted, || StoreError::RunIdRefused { id: new.id.clone(), reason: "it has been used already" })
}

/// The two kinds of things that have a row and a directory of the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    Sessions,
    Runs,
}

impl Table {
    fn name(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Runs => "runs",
        }
    }

    pub(crate) fn has(self, connection: &Connection, id: &str) -> Result<bool, Fail> {
        let query = format!("SELECT 1 FROM {} WHERE id = ?1", self.name());
        Ok(connection.query_one(&query, [id], |_| Ok(())).optional()?.is_some())
    }

    /// Whether there was such a row.
    pub(crate) fn delete(self, transaction: &Transaction<'_>, id: &str) -> Result<bool, Fail> {
        let delete = format!("DELETE FROM {} WHERE id = ?1", self.name());
        Ok(execute(transaction, &delete, [id])? == 1)
    }
}

fn session(row: &Row<'_>, places: Places<'_>) -> Result<SessionRecord, Fail> {
    let bad = |error: NameError| damaged(places.registry, error);
    let id: SessionId = text(row, 0)?.parse().map_err(bad)?;
    let state: SessionState = text(row, 8)?.parse().map_err(bad)?;
    let kind = match row.get::<_, Option<String>>(11)? {
        None => None,
        Some(text) => {
            Some(SessionKind::ALL.iter().copied().find(|kind| kind.as_str() == text).ok_or_else(|| {
                StoreError::corrupt(places.registry, format!("`{text}` is no kind of session"))
            })?)
        }
    };
    let ended_ms: Option<i64> = row.get(9)?;
    if (state == SessionState::Ended) != ended_ms.is_some() || state == SessionState::Dead {
        return Err(StoreError::corrupt(places.registry, format!("session {id} is half ended")).into());
    }
    Ok(SessionRecord {
        name: text(row, 1)?.parse().map_err(bad)?,
        stack: text(row, 2)?.parse().map_err(bad)?,
        stack_file: path(row.get(3)?),
        origin: path(row.get(4)?),
        owner_uid: row.get(5)?,
        host_pid: row.get(6)?,
        created_ms: row.get(7)?,
        ended_ms,
        kept: row.get(10)?,
        kind,
        control_socket: row.get::<_, Option<Vec<u8>>>(12)?.map(path),
        dir: SessionDir::new(places.sessions.join(id.as_str())),
        recorded: state,
        id,
    })
}

fn run(row: &Row<'_>, places: Places<'_>) -> Result<RunRecord, Fail> {
    let id = text(row, 0)?;
    // It becomes a path, here and when it is removed.
    crate::run::check_id(&id)
        .map_err(|reason| StoreError::corrupt(places.registry, format!("`{id}` is no run: {reason}")))?;
    Ok(RunRecord {
        stack: text(row, 1)?.parse().map_err(|error| damaged(places.registry, error))?,
        origin: path(row.get(2)?),
        started_ms: row.get(3)?,
        ended_ms: row.get(4)?,
        summary: row.get(5)?,
        root: places.runs.join(&id),
        id,
    })
}

fn collect<T>(
    connection: &Connection,
    select: &str,
    params: impl Params,
    mut read: impl FnMut(&Row<'_>) -> Result<T, Fail>,
) -> Result<Vec<T>, Fail> {
    let mut statement = connection.prepare_cached(select)?;
    let mut rows = statement.query(params)?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(read(row)?);
    }
    Ok(all)
}

/// Changes rows. What has been prepared is kept: a run of many sessions says the same again and again.
pub(crate) fn execute(
    connection: &Connection,
    statement: &str,
    params: impl Params,
) -> rusqlite::Result<usize> {
    connection.prepare_cached(statement)?.execute(params)
}

/// Tells an id that is there already from every other failure.
fn or_taken(inserted: rusqlite::Result<usize>, taken: impl FnOnce() -> StoreError) -> Result<(), Fail> {
    match inserted {
        Err(rusqlite::Error::SqliteFailure(failure, _))
            if failure.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE =>
        {
            Err(taken().into())
        }
        other => Ok(other.map(|_| ())?),
    }
}

fn damaged(registry: &Path, error: NameError) -> Fail {
    let what = "a name or state is not one".to_owned();
    StoreError::StoreCorrupt { path: registry.to_owned(), what, source: Some(Box::new(error)) }.into()
}

fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    row.get(column)
}

/// Paths are bytes: not every one of them is text.
fn bytes(path: &Path) -> &[u8] {
    OsStr::as_bytes(path.as_os_str())
}

fn path(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}
