//! The small languages: names, ids, selectors, durations, closed lists.

use belljar_model::{
    ErrorCode, ReplicaName, ReplicaState, ScenarioName, Selector, ServiceName, SessionId, SessionName,
    SessionState, StackName, TaskName, duration,
};

/// What is taken is shown as it was given; ids and names do not meet.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let text = text.as_ref();
    same::<SessionId>(text);
    same::<SessionName>(text);
    same::<StackName>(text);
    same::<ServiceName>(text);
    same::<TaskName>(text);
    same::<ReplicaName>(text);
    same::<ScenarioName>(text);
    same::<Selector>(text);
    same::<SessionState>(text);
    same::<ReplicaState>(text);
    assert!(SessionId::new(text).is_err() || SessionName::new(text).is_err(), "{text} is a name and an id");
    assert!(
        ServiceName::new(text).is_err() || ReplicaName::new(text).is_err(),
        "{text} is a service and a replica"
    );
    if let Ok(replica) = ReplicaName::new(text) {
        assert_eq!(ReplicaName::of(&replica.service(), replica.number()), replica);
        assert!(ServiceName::new(replica.service().as_str()).is_ok());
    }
    if let Ok(code) = serde_json::from_value::<ErrorCode>(text.into()) {
        assert_eq!(code.to_string(), text);
    }
    if let Ok(read) = duration::parse(text) {
        assert!(!duration::short(read).is_empty());
        assert!(text.starts_with(|c: char| c.is_ascii_digit() || c == '.'), "{text}");
    }
}

fn same<T: std::str::FromStr + std::fmt::Display>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string(), text);
    }
}

pub const WORDS: &[&str] = &[
    "k3f9-x2ab",
    "pods",
    "api-1",
    "api-65535",
    "api-65536",
    "api-01",
    "a-b-1",
    "-",
    "::",
    "all::smoke",
    "ms",
    "s",
    "m",
    "h",
    "d",
    "1.5",
    ".5",
    "5.",
    "1e5",
    "ready",
    "internal",
    "é",
    "１",
    "18446744073709551615s",
    "18446744073709551616s",
];
