//! State directories as older programs, power cuts and bad disks leave them.

use std::cell::OnceCell;
use std::path::Path;

use belljar_model::{ErrorCode, SessionId, SessionName, SessionState, StackName};
use belljar_store::{NameWish, NewRun, NewSession, SessionKind, Store, StoreError};
use rusqlite::{Connection, params};

use super::scratch;
use crate::input::Input;

const VERSION_1: &str = include_str!("../../../crates/belljar-store/tests/it/v1.sql");
const READ_ONLY: rusqlite::ErrorCode = rusqlite::ErrorCode::ReadOnly;
const FILES: [&str; 3] = ["registry.sqlite", "registry.sqlite-wal", "registry.sqlite-shm"];

/// How many sessions the prepared registries have.
const SESSIONS: u64 = 40;

/// A registry's files: the database, its log, the log's index.
type Files = [Option<Vec<u8>>; 3];

/// What is read is right or a clean error; a migration keeps all of it; what fails changes nothing.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 4 {
        0 => rows_of_version_1(input),
        1 => cut(input),
        _ => damaged(input),
    }
}

/// A registry of version 1 with any rows.
fn rows_of_version_1(mut input: Input<'_>) {
    let dir = scratch();
    let mut connection = Connection::open(dir.path().join(FILES[0])).expect("the directory is there");
    connection.execute_batch(VERSION_1).expect("it is SQL");
    connection.execute_batch("DELETE FROM sessions; DELETE FROM runs;").expect("it is SQL");
    let transaction = connection.transaction().expect("nobody else is here");
    let mut expected = Vec::new();
    let mut is_good = true;
    for number in 0..u64::from(input.byte() % 12) {
        let id = match input.byte() % 16 {
            0 => input.text(),
            _ => SessionId::from_random(number ^ input.number()).to_string(),
        };
        let name =
            if input.byte().is_multiple_of(16) { input.text() } else { format!("name-{}", input.byte() % 4) };
        let stack = if input.byte().is_multiple_of(16) { input.text() } else { "pods".to_owned() };
        let state = match input.byte() % 16 {
            0 => input.text(),
            1..=7 => "ended".to_owned(),
            8 => "starting".to_owned(),
            _ => "ready".to_owned(),
        };
        // Now and then one that is half ended.
        let is_ended = (state == "ended") != input.byte().is_multiple_of(32);
        let ended = is_ended.then(|| input.number().cast_signed());
        let numbers = [input.one_of(&[0, 1000, i64::MAX, -1]), input.one_of(&[1, 4711, 1 << 32, 4_194_304])];
        let row = params![
            id,
            name,
            stack,
            input.bytes(9),
            input.bytes(9),
            numbers[0],
            numbers[1],
            input.number().cast_signed(),
            state,
            ended,
            input.byte() % 2,
        ];
        let insert = "INSERT INTO sessions (id, name, stack, stack_file, origin, owner_uid, host_pid, created_ms, \
                      state, ended_ms, kept) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
        if transaction.execute(insert, row).is_err() {
            // The same id twice.
            continue;
        }
        is_good &= id.parse::<SessionId>().is_ok()
            && name.parse::<SessionName>().is_ok()
            && stack.parse::<StackName>().is_ok()
            && state.parse::<SessionState>().is_ok_and(|state| {
                state != SessionState::Dead && (state == SessionState::Ended) == ended.is_some()
            })
            && numbers.iter().all(|&number| u32::try_from(number).is_ok());
        expected.push(id);
    }
    for number in 0..input.byte() % 4 {
        let row =
            params![format!("2026-{number}"), input.bytes(5), input.number().cast_signed(), input.text()];
        let insert =
            "INSERT INTO runs (id, stack, origin, started_ms, summary) VALUES (?1, 'pods', ?2, ?3, ?4)";
        transaction.execute(insert, row).expect("it keeps the schema");
    }
    transaction.commit().expect("memory is to be had");
    connection.close().expect("nothing is under way");
    let before = look(dir.path());
    assert_eq!(before.is_ok(), is_good, "{before:?}");
    let after = open(dir.path(), &before);
    if let Ok((sessions, _)) = before {
        let ids: Vec<_> = sessions.iter().map(|one| one.id.as_str()).collect();
        assert_eq!(ids, expected);
        after.expect("what can be read can be migrated");
    }
}

/// A registry as a power cut leaves it, or a copy made at any moment: the log ends anywhere.
fn cut(mut input: Input<'_>) {
    let mut files = prepared(Which::WithLog);
    let log = files[1].as_mut().expect("it has a log");
    let length = input.below(log.len() + 1);
    log.truncate(length);
    match input.byte() % 4 {
        0 => files[2] = None,
        1 => files[2].as_mut().expect("it has an index").fill(0),
        _ => {}
    }
    // What was torn may hold anything.
    log_tail(&mut files, input);
    let dir = scratch();
    write(dir.path(), &files);
    let before = look(dir.path()).expect("no power cut damages a registry");
    let all = prepared_ids();
    let ids: Vec<_> = before.0.iter().map(|one| one.id.clone()).collect();
    assert!(all.starts_with(&ids), "not what was first written");
    let whole_log = prepared(Which::WithLog)[1].as_ref().map_or(0, Vec::len);
    assert!(
        length < whole_log || ids.len() == all.len(),
        "{} of {} are lost",
        all.len() - ids.len(),
        all.len()
    );
    open(dir.path(), &Ok(before)).expect("no power cut damages a registry");
}

fn log_tail(files: &mut Files, mut input: Input<'_>) {
    if let Some(log) = &mut files[1]
        && log.len() > 64
    {
        let at = log.len() - 1 - input.below(32);
        for (byte, other) in log[at..].iter_mut().zip(input.rest()) {
            *byte ^= other;
        }
    }
}

/// A registry with bytes of it changed, or its end missing.
fn damaged(mut input: Input<'_>) {
    let which = input.one_of(&[Which::Version1, Which::Current, Which::WithLog]);
    let mut files = prepared(which);
    let damage = input.byte();
    let file = usize::from(damage >> 6).min(2);
    if let Some(bytes) = &mut files[if files[file].is_some() { file } else { 0 }] {
        if damage & 1 == 1 {
            let length = input.below(bytes.len() + 1);
            bytes.truncate(length);
        }
        let mut changes = 1 + damage % 8;
        while changes > 0 && !input.is_empty() && !bytes.is_empty() {
            changes -= 1;
            // The heads of the file and of its pages are what everything else hangs on.
            let pages = bytes.len().div_ceil(4096);
            let at = match input.byte() % 4 {
                0 => input.below(100),
                1 => input.below(pages) * 4096 + input.below(16),
                _ => input.below(bytes.len()),
            };
            let length = usize::from(input.byte() % 24);
            for (byte, other) in bytes.iter_mut().skip(at).zip(input.bytes(length)) {
                *byte = *other;
            }
        }
    }
    let dir = scratch();
    write(dir.path(), &files);
    let before = look(dir.path());
    let after = open(dir.path(), &before);
    for error in [before.err(), after.err()].into_iter().flatten() {
        let is_told = match &error {
            // The head of a file can say that it is of an SQLite of which ours may only read.
            StoreError::RegistryUnusable { source, .. } => source.sqlite_error_code() == Some(READ_ONLY),
            error => matches!(error.code(), ErrorCode::StoreCorrupt | ErrorCode::StoreTooNew),
        };
        assert!(is_told, "{error:?}");
    }
}

type Seen = (Vec<belljar_store::SessionRecord>, Vec<belljar_store::RunRecord>);

/// What there is to be read; reading it changes nothing.
fn look(dir: &Path) -> Result<Seen, StoreError> {
    let before = contents(dir);
    let seen = Store::open_existing(dir).and_then(|store| {
        let store = store.expect("there is a registry");
        Ok((store.sessions()?, store.runs()?))
    });
    let after = contents(dir);
    assert!(before[0] == after[0], "reading changed the registry");
    assert!(before[1] == after[1] || before[1].is_none(), "reading changed the log");
    seen
}

/// Opens it to write, which migrates it, and makes a session in it. `before`: what could be read.
fn open(dir: &Path, before: &Result<Seen, StoreError>) -> Result<(), StoreError> {
    let opened = Store::open(dir).and_then(|store| Ok((store.sessions()?, store.runs()?)));
    let seen = match (opened, before) {
        (Ok(seen), before) => {
            assert_same(before, &seen);
            seen
        }
        (Err(error), Ok(_)) => {
            assert_same(before, &look(dir).expect("it could be read before"));
            return Err(error);
        }
        (Err(error), Err(_)) => return Err(error),
    };
    // Writing may come upon damage that reading did not, and SQLite does not look for it.
    let store = Store::open(dir)?;
    let owned = store.create_session(&new(u64::MAX))?;
    assert_eq!(store.sessions()?.len(), seen.0.len() + 1);
    drop(owned);
    Ok(())
}

fn assert_same(before: &Result<Seen, StoreError>, after: &Seen) {
    if let Ok(before) = before {
        assert_eq!(format!("{before:?}"), format!("{after:?}"), "something was lost");
    }
}

/// The registries that are changed by the targets.
#[derive(Debug, Clone, Copy)]
enum Which {
    Version1,
    Current,
    /// The current version, most of it in the log.
    WithLog,
}

thread_local! {
    static PREPARED: [OnceCell<Files>; 3] = const { [OnceCell::new(), OnceCell::new(), OnceCell::new()] };
}

fn prepared(which: Which) -> Files {
    PREPARED.with(|all| {
        let index = match which {
            Which::Version1 => 0,
            Which::Current => 1,
            Which::WithLog => 2,
        };
        all[index].get_or_init(|| prepare(which)).clone()
    })
}

fn prepared_ids() -> Vec<SessionId> {
    (0..SESSIONS).map(SessionId::from_random).collect()
}

fn prepare(which: Which) -> Files {
    let dir = scratch();
    if matches!(which, Which::Version1) {
        let connection = Connection::open(dir.path().join(FILES[0])).expect("the directory is there");
        connection.execute_batch(VERSION_1).expect("it is SQL");
        connection.close().expect("nothing is under way");
        return contents(dir.path());
    }
    let store = Store::open(dir.path()).expect("the directory is empty");
    let run = NewRun {
        id: "2026-1".to_owned(),
        stack: "pods".parse().expect("it is a name"),
        origin: "/srv".into(),
        started_ms: 0,
    };
    for number in 0..SESSIONS {
        drop(store.create_session(&new(number)).expect("it is new"));
    }
    drop(store.create_run(&run).expect("it is new"));
    drop(store);
    if matches!(which, Which::Current) {
        let connection = Connection::open(dir.path().join(FILES[0])).expect("it is there");
        connection.query_one("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("nobody else is here");
        connection.close().expect("nothing is under way");
    }
    contents(dir.path())
}

fn new(number: u64) -> NewSession {
    NewSession {
        id: SessionId::from_random(number),
        name: NameWish::Like(format!("name-{}", number % 5)),
        stack: "pods".parse().expect("it is a name"),
        stack_file: "/srv/pods/belljar.toml".into(),
        origin: "/srv/pods".into(),
        owner_uid: 1000,
        host_pid: 17,
        created_ms: 1_700_000_000_000,
        kind: SessionKind::Up,
        control_socket: "/nowhere/control.sock".into(),
    }
}

/// Never while one of them is open in this process: closing any descriptor drops SQLite's locks.
fn contents(dir: &Path) -> Files {
    FILES.map(|file| fs_err::read(dir.join(file)).ok())
}

fn write(dir: &Path, files: &Files) {
    for (file, bytes) in FILES.iter().zip(files) {
        if let Some(bytes) = bytes {
            fs_err::write(dir.join(file), bytes).expect("the directory is there");
        }
    }
}

pub const WORDS: &[&str] = &[
    "schema_version",
    "sessions",
    "CREATE TABLE",
    "CREATE INDEX",
    "STRICT",
    "UNIQUE",
    "sessions_by_name",
    "meta",
    "runs",
    "ended",
    "ready",
    "dead",
    "k3f9-x2ab",
    "name-1",
    "SQLite format 3\u{0}",
];
