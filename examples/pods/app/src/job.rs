//! What comes after what on a stream. Nothing here waits or talks to anyone.

use std::time::Duration;

use serde::Serialize;
use tokio_postgres::Row;

use crate::bus::{Placed, Record};

/// A stream, and this pod's right to work on it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Job {
    pub(crate) id: String,
    pub(crate) chunks: i32,
    #[serde(skip)]
    pub(crate) interval: Duration,
    #[serde(skip)]
    pub(crate) epoch: i64,
}

/// What an owner does, given the last record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Append {
        record: Record,
        after: u64,
    },
    /// The last chunk is there.
    Done,
    /// Somebody else has taken the stream over.
    Fenced,
}

impl Job {
    /// The one place where it is decided what comes after what.
    pub(crate) fn next(&self, pod: &str, last: Option<&Placed>) -> Step {
        let (sequence, epoch, n) = match last {
            None => (0, 0, 0),
            Some(Placed { sequence, record: Record::Owner { epoch, after, .. } }) => {
                (*sequence, *epoch, *after)
            }
            Some(Placed { sequence, record: Record::Chunk { epoch, n, .. } }) => (*sequence, *epoch, *n),
        };
        let (pod, of) = (pod.to_owned(), self.chunks);
        if n >= of {
            Step::Done
        } else if epoch > self.epoch {
            Step::Fenced
        } else if epoch < self.epoch {
            Step::Append { record: Record::Owner { pod, epoch: self.epoch, after: n }, after: sequence }
        } else {
            Step::Append { record: Record::Chunk { n: n + 1, of, pod, epoch }, after: sequence }
        }
    }
}

/// From `id, chunks, interval_ms, epoch`.
impl From<&Row> for Job {
    fn from(row: &Row) -> Self {
        let interval: i32 = row.get(2);
        Self {
            id: row.get(0),
            chunks: row.get(1),
            interval: Duration::from_millis(interval.unsigned_abs().into()),
            epoch: row.get(3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(epoch: i64) -> Job {
        Job { id: "s".into(), chunks: 3, interval: Duration::ZERO, epoch }
    }

    fn owner(epoch: i64, after: i32) -> Record {
        Record::Owner { pod: "a".into(), epoch, after }
    }

    fn chunk(epoch: i64, n: i32) -> Record {
        Record::Chunk { n, of: 3, pod: "a".into(), epoch }
    }

    fn next(epoch: i64, last: Record) -> Step {
        job(epoch).next("a", Some(&Placed { sequence: 7, record: last }))
    }

    #[test]
    fn an_owner_says_so_first() {
        assert_eq!(job(1).next("a", None), Step::Append { record: owner(1, 0), after: 0 });
        assert_eq!(next(2, chunk(1, 2)), Step::Append { record: owner(2, 2), after: 7 });
        assert_eq!(next(3, owner(2, 2)), Step::Append { record: owner(3, 2), after: 7 });
    }

    #[test]
    fn chunks_follow_each_other_to_the_last() {
        assert_eq!(next(1, owner(1, 0)), Step::Append { record: chunk(1, 1), after: 7 });
        assert_eq!(next(2, owner(2, 2)), Step::Append { record: chunk(2, 3), after: 7 });
        assert_eq!(next(1, chunk(1, 2)), Step::Append { record: chunk(1, 3), after: 7 });
        assert_eq!(next(1, chunk(1, 3)), Step::Done);
    }

    #[test]
    fn an_old_owner_stops() {
        assert_eq!(next(1, owner(2, 1)), Step::Fenced);
        assert_eq!(next(1, chunk(2, 2)), Step::Fenced);
    }

    #[test]
    fn a_finished_stream_gets_no_new_owner() {
        assert_eq!(next(2, chunk(1, 3)), Step::Done);
    }
}
