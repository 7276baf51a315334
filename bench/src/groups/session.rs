//! A session of six trivial replicas, in a process that carries it: from the request until every replica listens
//! and is known to, and from the request to end it until it has.

use std::time::Duration;

use crate::error::Result;
use crate::floors;
use crate::ground::{Ground, REPLICAS};
use crate::measure::{in_turns, rest};
use crate::row::{Budget, Row, Unit};
use crate::worker::Worker;

const RUNS: usize = 40;
/// A slot that was given back is proved clean within this.
const PROOF: Duration = Duration::from_millis(60);

pub(super) fn measure(ground: &Ground) -> Result<Vec<Row>> {
    let stack = ground.stack("six", &ground.service(REPLICAS, 0))?;
    let mut own = Worker::new(ground, &stack, 0)?;
    let [process, topology, servers, floor, ready] = in_turns(RUNS, || {
        let process = floors::process()?;
        let topology = floors::topology()?;
        let servers = floors::servers(&ground.server)?;
        let ready = own.start(1)?.all_ready;
        rest(floors::QUIET);
        Ok([process, topology, servers, process + topology + servers, ready])
    })?;
    drop(own);

    let mut leased = Worker::new(ground, &stack, 3)?;
    let [lease_floor, end_floor, leased_ready, ended, given_back] = in_turns(RUNS, || {
        let floor = floors::process()? + floors::servers(&ground.server)?;
        let end_floor = floors::end()?;
        let session = leased.start(1)?;
        rest(PROOF);
        Ok([floor, end_floor, session.all_ready, session.ended[0], session.given_back[0]])
    })?;

    let ms = Unit::Milliseconds;
    Ok(vec![
        Row::new("six replicas ready, from a leased slot", ms, &leased_ready)
            .floor("a bare process in namespaces, and the servers' own start", &lease_floor)
            .budget(Budget::AtMost(8.0)),
        Row::new("six replicas ready, with a network of its own", ms, &ready)
            .floor("the same, and a bare topology", &floor)
            .budget(Budget::AtMost(15.0)),
        Row::new("session ended", ms, &ended)
            .floor("a bare kill of as many processes", &end_floor)
            .budget(Budget::AtMost(5.0)),
        Row::new("ended, files and registry entry removed too", ms, &given_back)
            .floor("a bare kill of as many processes", &end_floor),
        Row::new("floor: clone3 with all namespaces, end, wait", ms, &process),
        Row::new("floor: six network namespaces on a bridge, by netlink", ms, &topology),
        Row::new("floor: six servers' own start, all listening", ms, &servers),
    ])
}
