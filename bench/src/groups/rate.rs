//! How many sessions a second one process starts and ends, for as long as it likes; and several at once.

use std::time::{Duration, Instant};

use crate::error::Result;
use crate::floors;
use crate::ground::{Ground, REPLICAS, output};
use crate::measure::{Samples, in_turns, milliseconds, rest};
use crate::row::{Budget, Row, Unit};
use crate::worker::{Worker, per_second};

/// Long enough at a stretch that its beginning and its end hardly count.
const SECONDS: u32 = 4;
const TURNS: u32 = 2;
const AT_ONCE: [usize; 4] = [1, 2, 4, 8];
const RUNS: usize = 15;
/// How many scenarios `belljar test` is given.
const SCENARIOS: u32 = 300;

pub(super) fn measure(ground: &Ground) -> Result<Vec<Row>> {
    let stack = ground.stack("rate", &format!("{}{}", ground.service(REPLICAS, 0), suite(ground)?))?;
    let mut rows = Vec::new();
    for at_once in AT_ONCE {
        // As in `belljar test -j N`: a slot for each.
        let mut worker = Worker::new(ground, &stack, at_once)?;
        worker.start(at_once)?;
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            bare.extend(per_second(&topologies(Duration::from_secs(2))?, 2));
            rest(floors::QUIET);
            ours.extend(worker.sustain(at_once, SECONDS)?);
        }
        rows.push(
            Row::new(&format!("started and ended, {at_once} at once"), Unit::PerSecond, &Samples::from(ours))
                .floor("bare topologies, made and dropped", &Samples::from(bare))
                .budget(Budget::AtLeast(100.0)),
        );
        if at_once >= 4 {
            rows.push(burst(ground, &mut worker, at_once)?);
        }
    }
    rows.push(scenarios(ground, &stack)?);
    Ok(rows)
}

/// So many sessions requested in the same moment.
fn burst(ground: &Ground, worker: &mut Worker, at_once: usize) -> Result<Row> {
    let [floor, ready] = in_turns(RUNS, || {
        let mut floor = 0.0;
        for _ in 0..at_once {
            floor += floors::process()? + floors::servers(&ground.server)?;
        }
        let ready = worker.start(at_once)?.all_ready;
        rest(floors::QUIET);
        Ok([floor, ready])
    })?;
    Ok(Row::new(&format!("{at_once} requested at once, until all are ready"), Unit::Milliseconds, &ready)
        .floor("as many bare processes in namespaces and servers' starts, one after the other", &floor))
}

/// The whole of `belljar test`, its start and end included, with a scenario that does nothing.
fn scenarios(ground: &Ground, stack: &std::path::Path) -> Result<Row> {
    let count = SCENARIOS.to_string();
    let mut rates = Vec::new();
    for _ in 0..3 {
        let begun = Instant::now();
        output(&mut ground.belljar(stack, &["test", "--jobs", "4", "--count", &count, "--keep", "never"]))?;
        rates.push(f64::from(SCENARIOS) / begun.elapsed().as_secs_f64());
    }
    Ok(Row::new(
        "empty scenarios of `belljar test -j 4`, the whole command",
        Unit::PerSecond,
        &Samples::from(rates),
    ))
}

fn suite(ground: &Ground) -> Result<String> {
    let dir = ground.make_dir("rate/scenarios")?;
    let link = dir.join("nothing");
    fs_err::os::unix::fs::symlink("/bin/true", link).map_err(crate::error::Error::io("link a scenario"))?;
    Ok("[suite.s]\nscenarios = \"scenarios/*\"\n".to_owned())
}

/// Makes topologies and drops them. When each was made, in milliseconds.
fn topologies(time: Duration) -> Result<Vec<f64>> {
    let begun = Instant::now();
    let mut made = Vec::new();
    while begun.elapsed() < time {
        belljar_sandbox::floor::topology(REPLICAS)?;
        made.push(milliseconds(begun.elapsed()));
    }
    Ok(made)
}
