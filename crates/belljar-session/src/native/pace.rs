//! Waiting in steps finer than the runtime's millisecond clock.

use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Steps that start short and grow, so that what comes soon is noticed at once and what takes long costs
/// little.
#[derive(Debug)]
pub(crate) struct Pace {
    timer: AsyncFd<OwnedFd>,
    step: Duration,
    most: Duration,
}

/// How many steps it takes until one is about e times as long. After 150 ms a step takes 1.5 ms, so that a server that
/// took as long is known to be ready 0.75 ms later, in the middle; the first second costs 400 looks.
const SLOWNESS: u32 = 150;

impl Pace {
    pub(crate) fn new(first: Duration, most: Duration) -> std::io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer =
            crate::ready_fd::register(timerfd_create(TimerfdClockId::Monotonic, flags)?, Interest::READABLE)?;
        Ok(Self { timer, step: first, most })
    }

    /// Waits for one step; the next one is a little longer.
    pub(crate) async fn step(&mut self) -> std::io::Result<()> {
        let once = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec::try_from(self.step).map_err(|_| std::io::ErrorKind::InvalidInput)?,
        };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        let mut guard = self.timer.readable().await?;
        let mut count = [0; 8];
        // Reading resets it; what it says (how often it went off) is known.
        let _ = rustix::io::read(self.timer.get_ref(), &mut count);
        guard.clear_ready();
        self.step = (self.step + self.step / SLOWNESS).min(self.most);
        Ok(())
    }
}
