//! Sessions and runs in one process: names, selectors, states, and reading that changes nothing.

use belljar_model::{ErrorCode, Selector, SessionState};
use belljar_store::{Liveness, NameWish, SessionKind, Store, StoreError};

use crate::support::{CREATED, State, contents_of, exactly, id, name, new, new_run};

#[test]
fn a_session_has_its_directory_its_name_and_its_lock() {
    let state = State::new();
    let store = state.open();
    let owned = store.create_session(&exactly(1, "pods")).unwrap();
    assert_eq!((owned.id(), owned.name()), (&id(1), &name("pods")));
    assert_eq!(owned.dir().root(), state.dir.join("sessions").join(id(1).as_str()));
    for dir in [owned.dir().logs(), owned.dir().artifacts()] {
        assert!(dir.is_dir(), "{}", dir.display());
    }
    let record = store.find(&Selector::Id(id(1))).unwrap().unwrap();
    assert_eq!(record.liveness().unwrap(), Liveness::Live(SessionState::Starting));
    assert_eq!(record.kind, Some(SessionKind::Up));
    assert_eq!(record.control_socket.unwrap(), exactly(1, "pods").control_socket);
    assert_eq!(record.created_ms, CREATED);
    assert!(matches!(
        store.create_session(&exactly(1, "other")),
        Err(StoreError::SessionIdTaken { id: taken }) if taken == id(1)
    ));
    assert!(owned.dir().logs().is_dir(), "a refused twin takes nothing away");
}

/// Every command reads the whole log first.
#[test]
fn the_log_of_the_registry_does_not_grow_with_the_sessions() {
    let state = State::new();
    for number in 0..200 {
        let store = state.open();
        store.discard_session(store.create_session(&exactly(number, "pods")).unwrap()).unwrap();
    }
    let log = fs_err::metadata(state.dir.join("registry.sqlite-wal")).unwrap().len();
    assert!((1..500 * 1100).contains(&log), "{log}");
}

#[test]
fn a_name_is_taken_as_long_as_its_holder_lives() {
    let state = State::new();
    let store = state.open();
    let first = store.create_session(&exactly(1, "pods")).unwrap();
    let error = store.create_session(&exactly(2, "pods")).unwrap_err();
    assert_eq!(error.code(), ErrorCode::SessionNameTaken);
    let text = error.to_string();
    let pid = std::process::id().to_string();
    for part in [id(1).as_str(), "pods", &pid] {
        assert!(text.contains(part), "{text} names {part}");
    }
    assert!(!state.dir.join("sessions").join(id(2).as_str()).exists(), "the loser leaves nothing");
    assert_eq!(store.sessions().unwrap().len(), 1);

    drop(first);
    assert_eq!(store.sessions().unwrap()[0].liveness().unwrap(), Liveness::Dead);
    store.create_session(&exactly(3, "pods")).unwrap();
}

#[test]
fn names_like_a_directory_get_numbers_where_they_are_taken() {
    let state = State::new();
    let store = state.open();
    let mut alive = Vec::new();
    for (number, expected) in [(1, "my-app"), (2, "my-app-2"), (3, "my-app-3")] {
        let owned = store.create_session(&new(number, NameWish::Like("My App".to_owned()))).unwrap();
        assert_eq!(owned.name(), &name(expected));
        alive.push(owned);
    }
    drop(alive.remove(1));
    let again = store.create_session(&new(4, NameWish::Like("My App".to_owned()))).unwrap();
    assert_eq!(again.name(), &name("my-app-2"), "a free number is used again");
}

#[test]
fn a_live_session_goes_before_newer_ones_that_are_over() {
    let state = State::new();
    let store = state.open();
    let selector = Selector::Name(name("pods"));
    assert!(store.find(&selector).unwrap().is_none());
    drop(store.create_session(&exactly(1, "pods")).unwrap());
    drop(store.create_session(&exactly(2, "pods")).unwrap());
    assert_eq!(store.find(&selector).unwrap().unwrap().id, id(2), "the newest of those that are over");
    let live = store.create_session(&exactly(3, "pods")).unwrap();
    // Ended in order, and its host process is not gone yet: its name is free, and it is over.
    store.end_session(&id(3), CREATED + 1, false).unwrap();
    let newer = store.create_session(&exactly(4, "pods")).unwrap();
    assert_eq!(store.find(&selector).unwrap().unwrap().id, id(4));
    store.end_session(newer.id(), CREATED + 2, true).unwrap();
    assert_eq!(store.find(&selector).unwrap().unwrap().liveness().unwrap(), Liveness::Ended);
    drop(live);
    let mine: Vec<_> = store.live_of("/srv/pods".as_ref()).unwrap();
    assert!(mine.is_empty());
    let _other = store.create_session(&exactly(5, "other")).unwrap();
    assert_eq!(store.live_of("/srv/pods".as_ref()).unwrap()[0].id, id(5));
    assert!(store.live_of("/srv".as_ref()).unwrap().is_empty());
}

#[test]
fn states_are_recorded_until_the_end_and_not_after_it() {
    let state = State::new();
    let store = state.open();
    let _owned = store.create_session(&exactly(1, "pods")).unwrap();
    store.set_state(&id(1), SessionState::Ready).unwrap();
    let liveness = || store.sessions().unwrap()[0].liveness().unwrap();
    assert_eq!(liveness(), Liveness::Live(SessionState::Ready));
    for state in [SessionState::Ended, SessionState::Dead] {
        let error = store.set_state(&id(1), state).unwrap_err();
        assert!(matches!(error, StoreError::StateNotSettable { .. }), "{error:?}");
    }
    store.end_session(&id(1), CREATED + 5, true).unwrap();
    store.end_session(&id(1), CREATED + 6, false).unwrap();
    let record = &store.sessions().unwrap()[0];
    assert_eq!((record.ended_ms, record.kept), (Some(CREATED + 5), true), "the first end counts");
    assert_eq!(liveness(), Liveness::Ended);
    assert_eq!(store.set_state(&id(1), SessionState::Ready).unwrap_err().code(), ErrorCode::SessionEnded);
    assert_eq!(store.set_state(&id(2), SessionState::Ready).unwrap_err().code(), ErrorCode::SessionNotFound);
    assert_eq!(store.end_session(&id(2), 0, false).unwrap_err().code(), ErrorCode::SessionNotFound);
}

#[test]
fn reading_changes_nothing() {
    let state = State::new();
    assert!(Store::open_existing(&state.dir).unwrap().is_none());
    assert!(!state.dir.exists());

    let writer = state.open();
    let live = writer.create_session(&exactly(1, "live")).unwrap();
    drop(writer.create_session(&exactly(2, "dead")).unwrap());
    drop(writer.create_run(&new_run("run-1")).unwrap());
    let read_all = || {
        let before = contents_of(&state.dir);
        let reader = Store::open_existing(&state.dir).unwrap().unwrap();
        let all = reader.sessions().unwrap();
        let states: Vec<_> = all.iter().map(|one| one.liveness().unwrap().state()).collect();
        assert_eq!(states, [SessionState::Starting, SessionState::Dead]);
        assert!(reader.find(&Selector::Name(name("live"))).unwrap().is_some());
        assert_eq!(reader.runs().unwrap().len(), 1);
        assert!(!reader.runs().unwrap()[0].is_live().unwrap());
        assert!(matches!(reader.set_state(&id(1), SessionState::Ready), Err(StoreError::ReadOnly)));
        assert!(matches!(reader.create_session(&exactly(9, "x")), Err(StoreError::ReadOnly)));
        drop(reader);
        assert_eq!(contents_of(&state.dir), before);
    };
    read_all();
    drop(writer);
    read_all();
    drop(live);
}

#[test]
fn a_registry_without_its_log_is_read_without_making_one() {
    let state = State::new();
    drop(state.open());
    let log = state.dir.join("registry.sqlite-wal");
    assert!(log.exists(), "it stays for readers");
    for suffix in ["-wal", "-shm"] {
        fs_err::remove_file(state.dir.join(format!("registry.sqlite{suffix}"))).unwrap();
    }
    let reader = Store::open_existing(&state.dir).unwrap().unwrap();
    assert!(reader.sessions().unwrap().is_empty());
    drop(reader);
    assert!(!log.exists());
}

#[test]
fn a_run_is_under_way_until_it_has_ended() {
    let state = State::new();
    let store = state.open();
    let run = store.create_run(&new_run("20261120-a1")).unwrap();
    assert!(run.root().is_dir());
    let record = store.find_run("20261120-a1").unwrap().unwrap();
    assert!(record.is_live().unwrap() && record.summary.is_none());
    store.end_run(run.id(), CREATED + 9, "3 passed").unwrap();
    let record = store.find_run("20261120-a1").unwrap().unwrap();
    assert_eq!((record.ended_ms, record.summary.as_deref()), (Some(CREATED + 9), Some("3 passed")));
    assert_eq!(record.root, run.root());
    assert!(matches!(store.end_run("20261120-a1", 0, ""), Err(StoreError::RunNotFound { .. })));
    for bad in ["20261120-a1", "", "..", "a/b", "-a", "A", &"x".repeat(65)] {
        let error = store.create_run(&new_run(bad)).unwrap_err();
        assert!(matches!(error, StoreError::RunIdRefused { .. }), "{bad}: {error:?}");
    }
    assert!(run.root().is_dir(), "a refused twin takes nothing away");
}

#[test]
fn latest_points_to_the_newest_session_at_every_moment() {
    let state = State::new();
    let store = state.open();
    let latest = state.dir.join("latest");
    drop(store.create_session(&exactly(1, "first")).unwrap());
    let stop = std::sync::atomic::AtomicBool::new(false);
    let looks = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut looks = 0_u64;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let target = fs_err::read_link(&latest).unwrap();
                assert!(target.is_relative());
                assert!(state.dir.join(&target).join("lock").exists(), "{}", target.display());
                looks += 1;
            }
            looks
        });
        for number in 2..200 {
            drop(store.create_session(&exactly(number, &format!("s{number}"))).unwrap());
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        reader.join().unwrap()
    });
    assert!(looks > 0);
    let target = fs_err::read_link(&latest).unwrap();
    assert_eq!(target, std::path::Path::new("sessions").join(id(199).as_str()));
}
