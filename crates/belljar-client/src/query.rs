//! What stands behind the `?` of a request. The server reads these with its own query extractor, the client
//! writes them with `to_query`.

use serde::{Deserialize, Deserializer};

use crate::wire::WaitFor;

/// `GET /v1/logs?from=api-1,db-1&follow=true&tail=20&since_ms=1000`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LogsQuery {
    /// Replicas, services or tasks; all of them where none is named.
    #[serde(deserialize_with = "comma_separated")]
    pub from: Vec<String>,
    /// Go on with what comes.
    pub follow: bool,
    /// Only the last so many lines.
    pub tail: Option<usize>,
    /// Only what came after so many milliseconds since the session's first event.
    pub since_ms: Option<u64>,
}

/// `GET /v1/events?from=17&follow=true`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct EventsQuery {
    /// The first event's number; 0 and 1 are the beginning.
    pub from: u64,
    /// Go on with what comes, until the session ends.
    pub follow: bool,
}

/// `GET /v1/wait?for=ready&replica=api-1&within_ms=10000`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct WaitQuery {
    #[serde(rename = "for")]
    pub wait_for: WaitFor,
    /// A replica or a service; the whole session where none is named.
    #[serde(default)]
    pub replica: Option<String>,
    pub within_ms: u64,
}

/// `GET /v1/probe?replica=api`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ProbeQuery {
    /// A replica or a service.
    pub replica: String,
}

/// `GET /v1/drain?within=2000ms`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DrainQuery {
    /// A duration, as people write it.
    pub within: String,
}

impl LogsQuery {
    pub fn to_query(&self) -> String {
        let mut pairs = Pairs::default();
        if !self.from.is_empty() {
            pairs.add("from", &self.from.join(","));
        }
        if self.follow {
            pairs.add("follow", "true");
        }
        if let Some(tail) = self.tail {
            pairs.add("tail", &tail.to_string());
        }
        if let Some(since) = self.since_ms {
            pairs.add("since_ms", &since.to_string());
        }
        pairs.text
    }
}

impl EventsQuery {
    pub fn to_query(self) -> String {
        format!("from={}&follow={}", self.from, self.follow)
    }
}

impl WaitQuery {
    pub fn to_query(&self) -> String {
        let mut pairs = Pairs::default();
        pairs.add("for", self.wait_for.as_str());
        if let Some(replica) = &self.replica {
            pairs.add("replica", replica);
        }
        pairs.add("within_ms", &self.within_ms.to_string());
        pairs.text
    }
}

impl ProbeQuery {
    pub fn to_query(&self) -> String {
        let mut pairs = Pairs::default();
        pairs.add("replica", &self.replica);
        pairs.text
    }
}

impl DrainQuery {
    pub fn to_query(&self) -> String {
        let mut pairs = Pairs::default();
        pairs.add("within", &self.within);
        pairs.text
    }
}

/// `a=b&c=d`, with everything escaped that is not plain.
#[derive(Debug, Default)]
struct Pairs {
    text: String,
}

impl Pairs {
    fn add(&mut self, key: &str, value: &str) {
        if !self.text.is_empty() {
            self.text.push('&');
        }
        self.text.push_str(key);
        self.text.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                self.text.push(char::from(byte));
            } else {
                const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
                self.text.push('%');
                self.text.push(char::from(DIGITS[usize::from(byte >> 4)]));
                self.text.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
        }
    }
}

fn comma_separated<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok(text.split(',').filter(|one| !one.is_empty()).map(str::to_owned).collect())
}
