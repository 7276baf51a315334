//! Many sessions that are alive at once: whether the last of them costs more than the first.

use std::path::Path;

use crate::error::Result;
use crate::ground::{Ground, REPLICAS, output, time};
use crate::measure::{Samples, rest};
use crate::row::{Budget, Row, Unit};

const SESSIONS: usize = 200;
/// One start alone would say little: the first and the last of them are so many.
const ENDS: usize = 10;

pub(super) fn measure(ground: &Ground) -> Result<Vec<Row>> {
    let stack = ground.stack("crowd", &ground.service(REPLICAS, 0))?;
    let times = start_all(ground, &stack);
    output(&mut ground.belljar(&stack, &["down", "--all"]))?;
    // What the kernel has to end takes it a while.
    rest(std::time::Duration::from_secs(15));
    let times = times?;
    let first: Samples = times.iter().take(ENDS).copied().collect();
    let last: Samples = times.iter().skip(SESSIONS - ENDS).copied().collect();
    Ok(vec![
        Row::new("`belljar up` of six, the last ten of 200", Unit::Milliseconds, &last)
            .floor("the first ten of them", &first)
            .budget(Budget::TimesFloor(1.5)),
    ])
}

fn start_all(ground: &Ground, stack: &Path) -> Result<Vec<f64>> {
    // The first of all finds cold caches, and does not count.
    output(&mut ground.belljar(stack, &["up", "--name", "warm"]))?;
    (1..=SESSIONS)
        .map(|number| time(&mut ground.belljar(stack, &["up", "--name", &format!("s{number}")])))
        .collect()
}
