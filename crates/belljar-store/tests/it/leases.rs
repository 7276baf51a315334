//! Leases of ports: nobody has one that another has, and none outlives its session.

use std::cell::RefCell;
use std::collections::BTreeSet;

use belljar_model::ErrorCode;
use belljar_store::CleanOptions;

use crate::support::{CREATED, LATER, State, exactly, id};

#[test]
fn two_sessions_never_have_one_port() {
    let state = State::new();
    let store = state.open();
    let one = store.create_session(&exactly(1, "one")).unwrap();
    let two = store.create_session(&exactly(2, "two")).unwrap();
    let first = store.lease_ports(one.id(), 3, 20000..20010, |_, _| true).unwrap();
    assert_eq!(first, [20000, 20001, 20002]);
    let second = state.open().lease_ports(two.id(), 2, 20000..20010, |_, _| true).unwrap();
    assert_eq!(second, [20003, 20004]);
    assert_eq!(store.leased_ports().unwrap().len(), 5);
}

#[test]
fn a_port_that_somebody_outside_has_is_passed_over() {
    let state = State::new();
    let store = state.open();
    let one = store.create_session(&exactly(1, "one")).unwrap();
    let offered = RefCell::new(Vec::new());
    let take = |wish, port| {
        offered.borrow_mut().push((wish, port));
        port != 20000 && port != 20002
    };
    assert_eq!(store.lease_ports(one.id(), 2, 20000..20010, take).unwrap(), [20001, 20003]);
    assert_eq!(*offered.borrow(), [(0, 20000), (0, 20001), (1, 20002), (1, 20003)]);
}

#[test]
fn where_there_are_too_few_nothing_is_leased() {
    let state = State::new();
    let store = state.open();
    let one = store.create_session(&exactly(1, "one")).unwrap();
    let error = store.lease_ports(one.id(), 3, 20000..20002, |_, _| true).unwrap_err();
    assert_eq!(error.code(), ErrorCode::PortsExhausted);
    assert_eq!(
        error.to_string(),
        "2 free ports were found, and 3 were wanted: all others of the range are taken"
    );
    assert_eq!(store.leased_ports().unwrap(), []);
    assert_eq!(store.lease_ports(one.id(), 0, [], |_, _| true).unwrap(), [] as [u16; 0]);
}

#[test]
fn a_lease_ends_with_its_session_however_that_ends() {
    let state = State::new();
    let store = state.open();
    let lease = |number: u64| {
        let owned = store.create_session(&exactly(number, &format!("s{number}"))).unwrap();
        assert_eq!(store.lease_ports(owned.id(), 1, [20000], |_, _| true).unwrap(), [20000]);
        owned
    };
    // It died.
    drop(lease(1));
    assert_eq!(store.leased_ports().unwrap(), []);
    // It ended in order, and its host process still has its lock.
    let ended = lease(2);
    store.end_session(&id(2), CREATED, false).unwrap();
    // Nothing of it was kept.
    store.discard_session(lease(3)).unwrap();
    // It was cleaned.
    drop(lease(4));
    let options = CleanOptions { all: true, now_ms: LATER, retention: std::time::Duration::ZERO };
    let cleaned = store.clean(&options).unwrap();
    assert!(cleaned.failures.is_empty(), "{cleaned:?}");
    // It gave it back.
    let live = lease(5);
    store.release_ports(live.id(), &[20000]).unwrap();
    let _last = lease(6);
    drop(ended);
}

#[test]
fn a_crowd_that_leases_at_once_gets_a_port_each() {
    let state = State::new();
    drop(state.open());
    let all: Vec<u16> = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=8)
            .map(|number| {
                let state = &state;
                scope.spawn(move || {
                    let store = state.open();
                    let owned = store.create_session(&exactly(number, &format!("s{number}"))).unwrap();
                    let ports = store.lease_ports(owned.id(), 5, 20000..20040, |_, _| true).unwrap();
                    // The lease lives as long as this.
                    std::mem::forget(owned);
                    ports
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 40);
}
