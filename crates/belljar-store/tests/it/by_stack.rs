//! The stable name of the newest live session of a stack.

use std::path::PathBuf;

use belljar_model::Selector;
use belljar_store::{NewSession, SessionKind};

use crate::support::{LATER, State, clean_at, exactly, id};

fn target(state: &State, stack: &str) -> Option<PathBuf> {
    let link = state.dir.join("sessions/by-stack").join(stack);
    fs_err::read_link(link).ok()
}

#[expect(clippy::unnecessary_wraps, reason = "it is compared with what a link may lead to")]
fn to(number: u64) -> Option<PathBuf> {
    Some(PathBuf::from("..").join(id(number).as_str()))
}

#[test]
fn a_stack_has_a_link_to_its_newest_session_that_lives() {
    let state = State::new();
    let store = state.open();
    let first = store.create_session(&exactly(1, "one")).unwrap();
    let elsewhere = NewSession { origin: "/srv/other".into(), ..exactly(2, "two") };
    let second = store.create_session(&elsewhere).unwrap();
    let other = NewSession { stack: "shop".parse().unwrap(), ..exactly(3, "shop") };
    let shop = store.create_session(&other).unwrap();
    let attempt = NewSession { kind: SessionKind::Test, ..exactly(4, "attempt") };
    let attempt = store.create_session(&attempt).unwrap();
    assert_eq!((target(&state, "pods"), target(&state, "shop")), (to(2), to(3)));
    let link = state.dir.join("sessions/by-stack/pods");
    assert_eq!(link.canonicalize().unwrap(), second.dir().root().canonicalize().unwrap());

    store.end_session(second.id(), LATER, false).unwrap();
    assert_eq!(target(&state, "pods"), to(1), "the next newest");
    store.discard_session(attempt).unwrap();
    assert_eq!(target(&state, "pods"), to(1));
    store.discard_session(first).unwrap();
    assert_eq!(target(&state, "pods"), None);
    store.end_session(shop.id(), LATER, false).unwrap();
    assert_eq!(target(&state, "shop"), None);
}

#[test]
fn a_link_to_a_dead_session_goes_with_it() {
    let state = State::new();
    let store = state.open();
    let _lives = store.create_session(&exactly(1, "one")).unwrap();
    drop(store.create_session(&exactly(2, "two")).unwrap());
    assert_eq!(target(&state, "pods"), to(2), "nobody was left to say that it is dead");
    // What a killed writer leaves is in nobody's way.
    fs_err::os::unix::fs::symlink("nowhere", state.dir.join("sessions/by-stack/.new")).unwrap();
    let cleaned = store.clean(&clean_at(LATER)).unwrap();
    assert_eq!(cleaned.removed.len(), 1, "{cleaned:?}");
    assert_eq!(target(&state, "pods"), to(1));
    assert!(store.clean(&clean_at(LATER)).unwrap().removed.is_empty(), "the links are no session");
}

#[test]
fn when_it_ends_by_itself_is_read_strictly() {
    let state = State::new();
    let store = state.open();
    let owned = store.create_session(&exactly(1, "one")).unwrap();
    let record = || store.find(&Selector::Id(id(1))).unwrap().unwrap();
    assert_eq!(record().expires_ms().unwrap(), None);
    fs_err::write(owned.dir().expiry(), "1700000000000\n").unwrap();
    assert_eq!(record().expires_ms().unwrap(), Some(1_700_000_000_000));
    for damaged in ["", "1700000000000", "soon\n"] {
        fs_err::write(owned.dir().expiry(), damaged).unwrap();
        record().expires_ms().unwrap_err();
    }
}
