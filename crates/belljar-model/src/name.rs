//! Names are what people choose, ids are what belljar makes. They are different types with syntaxes that
//! cannot meet, so that one is never taken for the other.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A name or an id that does not have the form it needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a {what}: {rule}")]
pub struct NameError {
    /// What was asked for, in the user's words: `session name`.
    pub what: &'static str,
    pub given: String,
    /// The rule that does not hold, as a sentence.
    pub rule: &'static str,
}

/// Makes a string type whose every value has been checked by `$check`.
macro_rules! checked_name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String")]
        pub struct $name(String);

        impl $name {
            /// The rule that every value keeps, as a sentence for error messages.
            pub const RULE: &'static str = $rule;

            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                if $check(&text) {
                    Ok(Self(text))
                } else {
                    Err(NameError { what: $what, given: text, rule: $rule })
                }
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    };
}

checked_name! {
    /// The identity of one session, made by belljar and never reused: `k3f9-x2ab`.
    SessionId, "session id", "an id is two groups of four out of a-z0-9 joined by `-`, with at least one digit",
    is_session_id
}
checked_name! {
    /// What people call a session. Unique among the live sessions of one state directory.
    SessionName, "session name",
    "a name is 1 to 40 of a-z0-9-, starts and ends with a letter or digit, and never has the form of an id (`xxxx-xxxx` with a digit)",
    is_session_name
}
checked_name! {
    /// The name of a stack.
    StackName, "stack name", "a name is 1 to 40 of a-z0-9-, and starts and ends with a letter or digit", is_label
}
checked_name! {
    /// The name of a service. It never ends as a replica's name does, so that `api-2` has one meaning.
    ServiceName, "service name",
    "a name is 1 to 40 of a-z0-9-, starts with a letter, ends with a letter or digit, and does not end in `-` and a number",
    is_service_name
}
checked_name! {
    /// The name of a task. Tasks and services share one space of names within a stack.
    TaskName, "task name",
    "a name is 1 to 40 of a-z0-9-, starts with a letter, ends with a letter or digit, and does not end in `-` and a number",
    is_service_name
}
checked_name! {
    /// One running copy of a service: the service's name, `-`, and its number from 1: `api-2`.
    ReplicaName, "replica name", "a replica is a service's name, `-` and a number from 1", is_replica_name
}
checked_name! {
    /// A scenario, whole: `suite::name`.
    ScenarioName, "scenario name", "a scenario is `suite::name`", is_scenario_name
}

impl SessionId {
    /// An id out of 64 random bits. The caller brings the randomness, so that tests can fix it.
    pub fn from_random(random: u64) -> Self {
        const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let mut rest = random;
        let mut text = String::with_capacity(9);
        for place in 0..8 {
            if place == 4 {
                text.push('-');
            }
            // One place is always a digit: it is what tells an id from a name.
            let (base, letters) = if place == 7 { (10, &LETTERS[26..]) } else { (36, &LETTERS[..]) };
            text.push(char::from(letters[usize::try_from(rest % base).unwrap_or_default()]));
            rest /= base;
        }
        Self(text)
    }
}

impl ReplicaName {
    /// The `number`th replica of `service`, counted from 1.
    pub fn of(service: &ServiceName, number: u16) -> Self {
        Self(format!("{service}-{number}"))
    }

    /// The service that this is a replica of.
    pub fn service(&self) -> ServiceName {
        let (service, _) = self.split();
        ServiceName(service.to_owned())
    }

    /// Which replica of its service this is, counted from 1.
    pub fn number(&self) -> u16 {
        self.split().1
    }

    fn split(&self) -> (&str, u16) {
        let (service, number) = self.0.rsplit_once('-').expect("checked when it was made");
        (service, number.parse().expect("checked when it was made"))
    }
}

/// What a command line takes where a session is meant: either its id or its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    Id(SessionId),
    Name(SessionName),
}

impl FromStr for Selector {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if let Ok(id) = SessionId::new(text) {
            return Ok(Self::Id(id));
        }
        SessionName::new(text).map(Self::Name)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

fn is_label_letter(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=40).contains(&bytes.len())
        && bytes.iter().all(|&b| is_label_letter(b) || b == b'-')
        && is_label_letter(bytes[0])
        && is_label_letter(bytes[bytes.len() - 1])
}

fn is_session_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 9
        && bytes.iter().enumerate().all(|(i, &b)| if i == 4 { b == b'-' } else { is_label_letter(b) })
        && bytes.iter().any(u8::is_ascii_digit)
}

fn is_session_name(text: &str) -> bool {
    is_label(text) && !is_session_id(text)
}

fn is_service_name(text: &str) -> bool {
    is_label(text) && text.as_bytes()[0].is_ascii_lowercase() && !ends_in_number(text)
}

fn ends_in_number(text: &str) -> bool {
    text.rsplit_once('-').is_some_and(|(_, end)| end.bytes().all(|b| b.is_ascii_digit()))
}

fn is_replica_name(text: &str) -> bool {
    text.rsplit_once('-').is_some_and(|(service, number)| {
        is_service_name(service)
            && !number.starts_with('0')
            && number.bytes().all(|b| b.is_ascii_digit())
            && number.parse::<u16>().is_ok_and(|n| n > 0)
    })
}

fn is_scenario_name(text: &str) -> bool {
    text.split_once("::").is_some_and(|(suite, name)| {
        !suite.is_empty() && !name.is_empty() && !text.contains(|c: char| c.is_control())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_names_cannot_meet() {
        for text in ["abcd-efg1", "0000-0000", "k3f9-x2ab"] {
            assert!(SessionId::new(text).is_ok(), "{text}");
            assert!(SessionName::new(text).is_err(), "{text}");
        }
        // Without a digit it is a name and never an id.
        for text in ["feat-four", "pods", "pods-2", "a", "k3f9-x2abc"] {
            assert!(SessionId::new(text).is_err(), "{text}");
            assert!(SessionName::new(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn bad_names_are_refused() {
        for text in ["", "-a", "a-", "A", "a b", "a/b", "..", &"x".repeat(41), "ä"] {
            assert!(SessionName::new(text).is_err(), "{text}");
            assert!(ServiceName::new(text).is_err(), "{text}");
        }
        assert!(ServiceName::new("api-2").is_err(), "that is a replica");
        assert!(ServiceName::new("2api").is_err());
        assert!(ServiceName::new("s3").is_ok());
    }

    #[test]
    fn made_ids_are_ids() {
        for random in [0, 1, u64::MAX, 0x9E37_79B9_7F4A_7C15] {
            let id = SessionId::from_random(random);
            assert_eq!(SessionId::new(id.as_str()), Ok(id));
        }
    }

    #[test]
    fn a_replica_knows_its_service_and_number() {
        let name = ReplicaName::new("api-v-12").unwrap();
        assert_eq!((name.service().as_str(), name.number()), ("api-v", 12));
        for text in ["api", "api-0", "api-01", "api-70000", "-1", "api-2-3"] {
            assert!(ReplicaName::new(text).is_err(), "{text}");
        }
    }
}
