//! What a clean takes and what it never takes.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::Duration;

use belljar_model::SessionState;
use belljar_store::{CleanOptions, GRACE, Removed, RemovedWhat, RuntimeDir};

use crate::support::{CREATED, LATER, State, clean_at, exactly, id, new_run, wall_ms};

const DAY_MS: i64 = 24 * 3_600_000;

fn ids(removed: &[Removed]) -> Vec<&str> {
    removed.iter().map(|one| one.id.as_str()).collect()
}

#[test]
fn the_dead_go_and_the_young_and_the_living_stay() {
    let state = State::new();
    let store = state.open();
    let live = store.create_session(&exactly(1, "live")).unwrap();
    drop(store.create_session(&exactly(2, "dead")).unwrap());
    let mut young = exactly(3, "young");
    young.created_ms = LATER - 59_000;
    drop(store.create_session(&young).unwrap());
    // Ended, and its host process has not let go of it.
    let lingering = store.create_session(&exactly(4, "lingering")).unwrap();
    store.end_session(lingering.id(), CREATED + 1, false).unwrap();

    let all = CleanOptions { all: true, ..clean_at(LATER) };
    let cleaned = store.clean(&all).unwrap();
    assert_eq!(ids(&cleaned.removed), [id(2).as_str()]);
    assert_eq!(cleaned.removed[0].what, RemovedWhat::DeadSession);
    assert!(cleaned.failures.is_empty());
    assert!(!state.dir.join("sessions").join(id(2).as_str()).exists());
    for kept in [live.dir().root(), lingering.dir().root()] {
        assert!(kept.join("logs").is_dir());
    }
    assert_eq!(store.sessions().unwrap().len(), 3);
    // A clock that was set back removes nothing.
    assert!(store.clean(&CleanOptions { all: true, ..clean_at(0) }).unwrap().removed.is_empty());
}

#[test]
fn the_ended_stay_for_their_time_and_kept_ones_for_longer() {
    let state = State::new();
    let store = state.open();
    for (number, keep) in [(1, false), (2, true)] {
        let owned = store.create_session(&exactly(number, &format!("s{number}"))).unwrap();
        fs_err::write(owned.dir().logs().join("api-1.log"), vec![b'x'; 100_000]).unwrap();
        store.end_session(owned.id(), CREATED + 10, keep).unwrap();
    }
    assert!(store.clean(&clean_at(CREATED + 6 * DAY_MS)).unwrap().removed.is_empty());
    let cleaned = store.clean(&clean_at(CREATED + 8 * DAY_MS)).unwrap();
    assert_eq!(ids(&cleaned.removed), [id(1).as_str()]);
    assert_eq!(cleaned.removed[0].what, RemovedWhat::EndedSession);
    assert!(cleaned.bytes() >= 100_000);
    assert!(store.clean(&clean_at(CREATED + 27 * DAY_MS)).unwrap().removed.is_empty());
    let cleaned = store.clean(&clean_at(CREATED + 29 * DAY_MS)).unwrap();
    assert_eq!(ids(&cleaned.removed), [id(2).as_str()]);
    assert!(store.sessions().unwrap().is_empty());
}

#[test]
fn runs_stay_for_their_time_and_live_ones_always() {
    let state = State::new();
    let store = state.open();
    let live = store.create_run(&new_run("live")).unwrap();
    drop(store.create_run(&new_run("killed")).unwrap());
    let ended = store.create_run(&new_run("ended")).unwrap();
    store.end_run(ended.id(), CREATED + 5, "1 passed").unwrap();
    drop(ended);
    assert!(store.clean(&clean_at(CREATED + 6 * DAY_MS)).unwrap().removed.is_empty());
    let cleaned = store.clean(&clean_at(CREATED + 8 * DAY_MS)).unwrap();
    assert_eq!(ids(&cleaned.removed), ["killed", "ended"]);
    assert!(live.root().is_dir());
    assert_eq!(store.runs().unwrap().len(), 1);
}

#[test]
fn only_what_carries_our_lock_or_nothing_at_all_is_removed_unregistered() {
    let state = State::new();
    let store = state.open();
    let sessions = state.dir.join("sessions");
    let make = |name: &str, files: &[&str]| {
        fs_err::create_dir(sessions.join(name)).unwrap();
        for file in files {
            fs_err::write(sessions.join(name).join(file), "x").unwrap();
        }
    };
    make("aaaa-aaa1", &["lock", "events.jsonl"]);
    make("bbbb-bbb2", &["events.jsonl"]);
    make("cccc-ccc3", &[]);
    make("dddd-ddd4", &["lock"]);
    fs_err::write(sessions.join("a-file"), "x").unwrap();
    let outside = state.base.path().join("outside");
    fs_err::create_dir(&outside).unwrap();
    fs_err::write(outside.join("lock"), "x").unwrap();
    symlink(&outside, sessions.join("eeee-eee5")).unwrap();
    let held = fs_err::File::open(sessions.join("dddd-ddd4/lock")).unwrap().into_parts().0;
    held.try_lock().unwrap();

    assert!(store.clean(&clean_at(wall_ms(Duration::ZERO))).unwrap().removed.is_empty(), "all too young");
    let cleaned = store.clean(&clean_at(wall_ms(GRACE * 2))).unwrap();
    let mut gone = ids(&cleaned.removed);
    gone.sort_unstable();
    assert_eq!(gone, ["aaaa-aaa1", "cccc-ccc3"]);
    assert!(cleaned.removed.iter().all(|one| one.what == RemovedWhat::Unregistered));
    for stays in ["bbbb-bbb2/events.jsonl", "dddd-ddd4/lock", "a-file", "eeee-eee5/lock"] {
        assert!(sessions.join(stays).exists(), "{stays}");
    }
}

#[test]
fn a_row_without_its_directory_goes_too() {
    let state = State::new();
    let store = state.open();
    let owned = store.create_session(&exactly(1, "s")).unwrap();
    fs_err::remove_dir_all(owned.dir().root()).unwrap();
    assert_eq!(store.sessions().unwrap()[0].liveness().unwrap().state(), SessionState::Dead);
    assert_eq!(ids(&store.clean(&clean_at(LATER)).unwrap().removed), [id(1).as_str()]);
    assert!(store.sessions().unwrap().is_empty());
}

#[test]
fn what_programs_left_behind_does_not_stop_it_and_links_lead_nowhere() {
    let state = State::new();
    let store = state.open();
    let outside = state.base.path().join("outside");
    fs_err::create_dir(&outside).unwrap();
    fs_err::write(outside.join("precious"), "x").unwrap();
    let owned = store.create_session(&exactly(1, "s")).unwrap();
    let data = owned.dir().volumes().join("db-1/data");
    fs_err::create_dir_all(&data).unwrap();
    fs_err::write(data.join("table"), "x").unwrap();
    symlink(&outside, data.join("escape")).unwrap();
    let read_only = |mode| std::fs::Permissions::from_mode(mode);
    fs_err::set_permissions(data.join("table"), read_only(0o400)).unwrap();
    fs_err::set_permissions(&data, read_only(0o555)).unwrap();
    let root = owned.dir().root().to_owned();
    drop(owned);
    let cleaned = store.clean(&clean_at(LATER)).unwrap();
    assert!(cleaned.failures.is_empty(), "{:?}", cleaned.failures);
    assert!(!root.exists());
    assert!(outside.join("precious").exists());
}

#[test]
fn one_that_cannot_be_removed_is_told_and_the_rest_goes() {
    let state = State::new();
    let store = state.open();
    let stuck = store.create_session(&exactly(1, "stuck")).unwrap();
    let root = stuck.dir().root().to_owned();
    drop(stuck);
    drop(store.create_session(&exactly(2, "fine")).unwrap());
    // A link where the directory should be: nothing of ours, so it is not touched.
    let moved = state.base.path().join("moved");
    fs_err::rename(&root, &moved).unwrap();
    symlink(&moved, &root).unwrap();
    let cleaned = store.clean(&clean_at(LATER)).unwrap();
    assert_eq!(ids(&cleaned.removed), [id(2).as_str()]);
    assert_eq!(cleaned.failures.len(), 1);
    assert_eq!(cleaned.failures[0].id, id(1).as_str());
    assert!(moved.join("logs").is_dir());
    assert_eq!(store.sessions().unwrap().len(), 1, "it stays in the registry until it is gone");
}

#[test]
fn the_control_socket_goes_and_latest_moves_on() {
    let state = State::new();
    let store = state.open();
    let uid = rustix::process::getuid().as_raw();
    let runtime = RuntimeDir::choose(&[state.base.path().join("run")], uid).unwrap();
    let stays = store.create_session(&exactly(1, "stays")).unwrap();
    let mut new = exactly(2, "goes");
    new.control_socket = runtime.socket(&new.id);
    let goes = store.create_session(&new).unwrap();
    runtime.create_session(&new.id).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&new.control_socket).unwrap());
    drop(goes);
    let latest = state.dir.join("latest");
    assert_eq!(ids(&store.clean(&clean_at(LATER)).unwrap().removed), [id(2).as_str()]);
    assert!(!new.control_socket.parent().unwrap().exists());
    assert_eq!(fs_err::canonicalize(&latest).unwrap(), fs_err::canonicalize(stays.dir().root()).unwrap());
    drop(stays);
    assert_eq!(store.clean(&clean_at(LATER)).unwrap().removed.len(), 1);
    assert!(fs_err::symlink_metadata(&latest).is_err());
}

#[test]
fn cleaners_at_once_remove_everything_once() {
    let state = State::new();
    let store = state.open();
    for number in 0..60 {
        let owned = store.create_session(&exactly(number, &format!("s{number}"))).unwrap();
        for file in 0..10 {
            fs_err::write(owned.dir().logs().join(format!("{file}.log")), "x").unwrap();
        }
    }
    // A directory whose row is gone looks like one that was never registered, as this one.
    let left = state.dir.join("sessions/zzzz-zzz9");
    fs_err::create_dir(&left).unwrap();
    fs_err::write(left.join("lock"), "").unwrap();
    let late = wall_ms(GRACE * 2);
    let mut removed = std::thread::scope(|scope| {
        let cleaners: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    let cleaned = state.open().clean(&clean_at(late)).unwrap();
                    assert!(cleaned.failures.is_empty(), "{:?}", cleaned.failures);
                    cleaned.removed
                })
            })
            .collect();
        cleaners.into_iter().flat_map(|one| one.join().unwrap()).map(|one| one.id).collect::<Vec<_>>()
    });
    removed.sort_unstable();
    let mut expected: Vec<_> =
        (0..60).map(|number| id(number).to_string()).chain(["zzzz-zzz9".to_owned()]).collect();
    expected.sort_unstable();
    assert_eq!(removed, expected, "each by exactly one");
    assert!(store.sessions().unwrap().is_empty());
    assert_eq!(fs_err::read_dir(state.dir.join("sessions")).unwrap().count(), 0);
}

#[test]
fn its_owner_can_discard_a_session_at_once() {
    let state = State::new();
    let store = state.open();
    let stays = store.create_session(&exactly(1, "stays")).unwrap();
    let goes = store.create_session(&exactly(2, "goes")).unwrap();
    fs_err::create_dir_all(goes.dir().volumes().join("data")).unwrap();
    let root = goes.dir().root().to_owned();
    store.end_session(goes.id(), CREATED, false).unwrap();
    store.discard_session(goes).unwrap();

    assert!(!root.exists());
    let left: Vec<_> = store.sessions().unwrap().into_iter().map(|record| record.id).collect();
    assert_eq!(left, [id(1)]);
    assert_eq!(fs_err::canonicalize(state.dir.join("latest")).unwrap(), stays.dir().root());
    drop(store.create_session(&exactly(3, "goes")).unwrap());
}

/// The clean goes by a clock that has jumped: what is being created looks as if its creator had been killed long ago.
#[test]
fn a_jumping_clock_takes_nothing_from_those_who_create() {
    let state = State::new();
    let store = state.open();
    let over = std::sync::atomic::AtomicBool::new(false);
    let jumped = clean_at(wall_ms(Duration::from_hours(1)));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    // What it removes or finds in its way is not what is tried here.
                    drop(store.clean(&jumped));
                }
            });
        }
        let created: Vec<_> = (0..200)
            .map(|number| {
                let session = store.create_session(&exactly(number, &format!("s-{number}"))).map(drop);
                session.and(store.create_run(&new_run(&format!("run-{number}"))).map(drop))
            })
            .collect();
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        for came in created {
            came.unwrap();
        }
    });
}
