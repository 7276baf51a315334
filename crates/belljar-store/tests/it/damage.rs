//! Registries that are older, newer or damaged, and directories that cannot be used.

use belljar_model::{ErrorCode, Selector};
use belljar_store::{Liveness, SessionKind, Store, StoreError};
use rusqlite::Connection;

use crate::support::{State, contents_of, exactly, id, name, new_run};

/// What is done to a registry's bytes.
type Damage = fn(&mut Vec<u8>);

fn with_version_1() -> State {
    with_dump(include_str!("v1.sql"))
}

fn with_dump(dump: &str) -> State {
    let state = State::new();
    fs_err::create_dir(&state.dir).unwrap();
    Connection::open(state.registry()).unwrap().execute_batch(dump).unwrap();
    state
}

#[track_caller]
fn assert_opens_to(state: &State, code: ErrorCode) {
    for opened in [Store::open(&state.dir).map(Some), Store::open_existing(&state.dir)] {
        // Damage further in shows with the first question.
        let asked = opened.and_then(|store| store.unwrap().sessions().map(|all| all.len()));
        match asked {
            Err(error) => assert_eq!(error.code(), code, "{error:?}"),
            Ok(count) => panic!("{count} sessions instead of {code}"),
        }
    }
}

#[test]
fn version_2_is_read_as_it_is_and_migrated_to_lease_ports() {
    let state = with_dump(include_str!("v2.sql"));
    let before = contents_of(&state.dir);
    let reader = Store::open_existing(&state.dir).unwrap().unwrap();
    assert_eq!(reader.sessions().unwrap()[1].kind, Some(SessionKind::Up));
    assert_eq!(reader.leased_ports().unwrap(), []);
    drop(reader);
    assert_eq!(contents_of(&state.dir), before);

    let store = state.open();
    let owned = store.create_session(&exactly(1, "pods")).unwrap();
    assert_eq!(store.lease_ports(owned.id(), 1, [20000], |_, _| true).unwrap(), [20000]);
    assert_eq!(store.leased_ports().unwrap(), [(20000, id(1))]);
}

#[test]
fn version_1_is_read_as_it_is_and_migrated_to_write() {
    let state = with_version_1();
    let before = contents_of(&state.dir);
    let check = |store: &Store| {
        let all = store.sessions().unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].name.as_str(), all[0].kept, all[0].kind), ("pods", true, None));
        assert_eq!(all[0].liveness().unwrap(), Liveness::Ended);
        assert_eq!(all[1].liveness().unwrap(), Liveness::Dead);
        assert_eq!(all[1].origin.as_os_str().as_encoded_bytes(), b"/srv/\xfe");
        assert!(all[1].control_socket.is_none());
        assert_eq!(store.runs().unwrap()[0].summary.as_deref(), Some("2 passed"));
    };
    check(&Store::open_existing(&state.dir).unwrap().unwrap());
    assert_eq!(contents_of(&state.dir), before);

    let store = state.open();
    check(&store);
    let _owned = store.create_session(&exactly(1, "pods")).unwrap();
    let record = store.find(&Selector::Name(name("pods"))).unwrap().unwrap();
    assert_eq!((record.id, record.kind), (id(1), Some(SessionKind::Up)));
    drop(state.open());

    // What has been migrated has the schema of what is fresh.
    let fresh = State::new();
    drop(fresh.open());
    let schema = |state: &State| {
        let connection = Connection::open(state.registry()).unwrap();
        let mut query = connection.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name").unwrap();
        let all = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        all.collect::<Result<Vec<(String, Option<String>)>, _>>().unwrap()
    };
    drop(store);
    assert_eq!(schema(&state), schema(&fresh));
}

#[test]
fn two_who_migrate_at_once_both_go_on() {
    let state = with_version_1();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(state.open().sessions().unwrap().len(), 2));
        }
    });
}

#[test]
fn two_who_create_at_once_both_go_on() {
    let state = State::new();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let state = &state;
            scope
                .spawn(move || state.open().create_session(&exactly(number, &format!("s{number}"))).unwrap());
        }
    });
    assert_eq!(state.open().sessions().unwrap().len(), 8);
    assert!(!state.dir.join("registry.sqlite.new").exists());
}

#[test]
fn what_a_killed_creator_left_is_no_obstacle() {
    let state = State::new();
    fs_err::create_dir(&state.dir).unwrap();
    fs_err::write(state.dir.join("registry.sqlite.new"), "half of a regis").unwrap();
    assert!(Store::open_existing(&state.dir).unwrap().is_none());
    assert!(state.open().sessions().unwrap().is_empty());
}

#[test]
fn a_newer_registry_is_refused_and_left_alone() {
    let state = State::new();
    drop(state.open());
    let set = "UPDATE meta SET value = 99 WHERE key = 'schema_version'";
    Connection::open(state.registry()).unwrap().execute(set, []).unwrap();
    assert_opens_to(&state, ErrorCode::StoreTooNew);
    let error = Store::open(&state.dir).unwrap_err();
    assert!(matches!(error, StoreError::StoreTooNew { found: 99, .. }), "{error:?}");
}

#[test]
fn damage_is_an_error_and_never_an_empty_list() {
    let whole = || {
        let state = State::new();
        let store = state.open();
        for number in 0..80 {
            drop(store.create_session(&exactly(number, &format!("s{number}"))).unwrap());
        }
        drop(store);
        // All of it in one file, so that the log cannot mend what is damaged here.
        let connection = Connection::open(state.registry()).unwrap();
        connection.query_one("PRAGMA journal_mode = DELETE", [], |_| Ok(())).unwrap();
        connection.close().unwrap();
        state
    };
    let damages: [(&str, Damage); 4] = [
        ("emptied", Vec::clear),
        ("another file", |bytes| *bytes = b"{\"sessions\": []}\n".repeat(300)),
        ("cut", |bytes| bytes.truncate(bytes.len() / 2)),
        ("overwritten", |bytes| bytes[4096..].fill(0xA5)),
    ];
    for (what, damage) in damages {
        let state = whole();
        let mut bytes = fs_err::read(state.registry()).unwrap();
        damage(&mut bytes);
        fs_err::write(state.registry(), &bytes).unwrap();
        let reader = Store::open_existing(&state.dir);
        let asked = reader.and_then(|store| store.unwrap().sessions());
        assert_eq!(asked.expect_err(what).code(), ErrorCode::StoreCorrupt, "{what}");
        assert_opens_to(&state, ErrorCode::StoreCorrupt);
    }
}

#[test]
fn what_is_only_in_the_log_is_read_without_its_index_too() {
    let state = State::new();
    drop(state.open().create_session(&exactly(1, "pods")).unwrap());
    fs_err::remove_file(state.dir.join("registry.sqlite-shm")).unwrap();
    let reader = Store::open_existing(&state.dir).unwrap().unwrap();
    assert_eq!(reader.sessions().unwrap().len(), 1);
}

#[test]
fn a_reader_keeps_the_log_of_a_file_that_is_nearly_empty() {
    let state = State::new();
    drop(state.open().create_session(&exactly(1, "pods")).unwrap());
    fs_err::write(state.registry(), "S").unwrap();
    let before = contents_of(&state.dir);
    assert_opens_to(&state, ErrorCode::StoreCorrupt);
    let log = state.dir.join("registry.sqlite-wal");
    assert_eq!(fs_err::read(&log).unwrap(), before[&log]);
}

#[test]
fn a_damaged_registry_is_not_migrated() {
    let state = with_version_1();
    let seen = |state: &State| {
        let store = Store::open_existing(&state.dir).unwrap().unwrap();
        (store.sessions().unwrap().len(), store.runs().unwrap().len())
    };
    let before = seen(&state);
    // Where the cells of the page begin that the version stands on.
    let mut bytes = fs_err::read(state.registry()).unwrap();
    bytes[12294] = 114;
    fs_err::write(state.registry(), &bytes).unwrap();
    assert_eq!(seen(&state), before, "reading does not come upon it");
    assert_eq!(Store::open(&state.dir).unwrap_err().code(), ErrorCode::StoreCorrupt);
    assert_eq!(seen(&state), before);
}

#[test]
fn rows_that_belljar_does_not_write_are_damage() {
    for spoil in [
        "UPDATE sessions SET state = 'dancing'",
        "UPDATE sessions SET id = '../../etc'",
        "UPDATE sessions SET name = 'k3f9-x2ab'",
        "UPDATE sessions SET kind = 'sideways'",
        "UPDATE sessions SET state = 'ended'",
        "UPDATE sessions SET host_pid = -1",
        "DROP TABLE sessions",
        "ALTER TABLE sessions RENAME COLUMN origin TO from_where",
        "UPDATE sessions SET name = CAST(X'ff' AS TEXT)",
        "DELETE FROM meta",
        "DROP TABLE meta",
    ] {
        let state = State::new();
        drop(state.open().create_session(&exactly(1, "pods")).unwrap());
        Connection::open(state.registry()).unwrap().execute(spoil, []).unwrap();
        assert_opens_to(&state, ErrorCode::StoreCorrupt);
    }
    let state = State::new();
    drop(state.open().create_run(&new_run("good")).unwrap());
    Connection::open(state.registry()).unwrap().execute("UPDATE runs SET id = '..'", []).unwrap();
    assert_eq!(state.open().runs().unwrap_err().code(), ErrorCode::StoreCorrupt);
}

#[test]
fn a_directory_that_cannot_be_used_is_named_with_the_reason() {
    let state = State::new();
    let file = state.base.path().join("file");
    fs_err::write(&file, "").unwrap();
    let below = file.join("state");
    let error = Store::open(&below).unwrap_err();
    assert_eq!(error.code(), ErrorCode::StateDirUnusable);
    assert!(error.to_string().contains(below.to_str().unwrap()), "{error}");
    assert!(std::error::Error::source(&error).is_some());
}
