//! How long after listen() returned in a replica its readiness is an event. The server says when that was, on the
//! clock that it shares with us, and the event's own moment is noted as it is made.

use crate::error::Result;
use crate::floors;
use crate::ground::{Ground, REPLICAS};
use crate::measure::{Samples, in_turns, rest};
use crate::row::{Budget, Row, Unit};
use crate::worker::Worker;

const RUNS: usize = 40;
/// A server that takes its time: whoever waits for it has begun to look less often.
const LATE_MS: u32 = 150;

pub(super) fn measure(ground: &Ground) -> Result<Vec<Row>> {
    let budget = Budget::AtMostWithP95(1.0, 5.0);
    let cases = [
        ("one replica, which listens at once", 1, 0),
        ("one replica, which listens after 150 ms", 1, LATE_MS),
        ("six replicas, started at once", REPLICAS, 0),
    ];
    let mut rows = Vec::new();
    for (index, (what, replicas, after_ms)) in cases.into_iter().enumerate() {
        let stack = ground.stack(&format!("ready-{index}"), &ground.service(replicas, after_ms))?;
        let mut worker = Worker::new(ground, &stack, 3)?;
        let mut noticed = Vec::new();
        let [told] = in_turns(RUNS, || {
            let told = heard(ground)?;
            noticed.extend(worker.start(1)?.noticed);
            rest(floors::QUIET / 4);
            Ok([told])
        })?;
        rows.push(
            Row::new(what, Unit::Milliseconds, &Samples::from(noticed))
                .floor("a line through a pipe, outside of sessions", &told)
                .budget(budget),
        );
    }
    Ok(rows)
}

/// How long after listen() we know of it when the server itself says so, and nobody is in between.
fn heard(ground: &Ground) -> Result<f64> {
    let mut server = floors::trivial(&ground.server)?;
    let line = server.wait_for("listening at ")?;
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let listened: i64 =
        line.trim_end().rsplit(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or_default();
    let micros = u32::try_from((now.tv_sec * 1_000_000_000 + now.tv_nsec - listened) / 1_000);
    Ok(micros.map_or(f64::NAN, |micros| f64::from(micros) / 1e3))
}
