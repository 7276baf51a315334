//! Something that is to become true of some processes, and is looked at again until it has or takes too long.

use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::time::Timespec;

use crate::error::{During as _, SandboxError, Step};
use crate::processes;
use crate::spec::{ExitStatus, Target};
use crate::sys;

/// How long processes may take to end or to stand still.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait before processes are looked at again.
pub(crate) const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 300_000 };

#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) target: Target,
    pub(crate) goal: Goal,
    deadline: Instant,
    pub(crate) then: Then,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    Dead,
    Still,
}

/// What is said when it is over.
#[derive(Debug)]
pub(crate) enum Then {
    Reply(u64),
    /// A replica has ended.
    Tell(u64, ExitStatus),
}

impl Watch {
    pub(crate) fn new(target: Target, goal: Goal, then: Then) -> Self {
        Self { target, goal, deadline: Instant::now() + PATIENCE, then }
    }

    /// What came of it, if it is over, after a look that found this one of its processes not there yet.
    pub(crate) fn outcome(
        &self,
        lagging: Result<Option<i32>, SandboxError>,
    ) -> Option<Result<(), SandboxError>> {
        let is_over = Instant::now() > self.deadline;
        match lagging {
            Ok(None) => Some(Ok(())),
            Ok(Some(pid)) if is_over => {
                let freezing = self.goal == Goal::Still;
                Some(Err(SandboxError::Stuck { pid, freezing, seconds: PATIENCE.as_secs() }))
            }
            Ok(Some(_)) => None,
            // What is short now may not be so in a moment.
            Err(error) if error.is_of_want() && !is_over => None,
            Err(error) => Some(Err(error)),
        }
    }

    pub(crate) fn is_for_the_end_of(&self, replica: u16) -> bool {
        self.goal == Goal::Dead && self.target == Target::Replica(replica)
    }
}

impl Goal {
    /// Does what brings it nearer; one of these processes that are not there yet.
    pub(crate) fn approach(self, members: &[i32]) -> Result<Option<i32>, SandboxError> {
        let mut lagging = None;
        for &pid in members {
            match self {
                Self::Dead => {
                    send_signal(pid, libc::SIGKILL)?;
                    lagging = Some(pid);
                }
                Self::Still if processes::is_still(pid)? => {}
                Self::Still => {
                    send_signal(pid, libc::SIGSTOP)?;
                    lagging = Some(pid);
                }
            }
        }
        Ok(lagging)
    }
}

/// Whether there was such a process.
pub(crate) fn send_signal(pid: i32, signal: i32) -> Result<bool, SandboxError> {
    match sys::kill(pid, signal) {
        Ok(()) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        Err(errno) => Err(errno).during(Step::Signal),
    }
}
