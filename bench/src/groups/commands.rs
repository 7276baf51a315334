//! Whole commands, from their start to their end.

use crate::error::Result;
use crate::floors;
use crate::ground::{Ground, output, time};
use crate::measure::in_turns;
use crate::row::{Budget, Row, Unit};

const RUNS: usize = 60;

pub(super) fn measure(ground: &Ground) -> Result<Vec<Row>> {
    let empty = ground.stack("empty", "")?;
    let up = ground.stack("one", &ground.service(1, 0))?;
    output(&mut ground.belljar(&up, &["up"]))?;
    let [unshare, run, ls, ps] = in_turns(RUNS, || {
        Ok([
            floors::unshare()?,
            time(&mut ground.belljar(&empty, &["run", "--", "true"]))?,
            time(&mut ground.belljar(&up, &["ls"]))?,
            time(&mut ground.belljar(&up, &["ps"]))?,
        ])
    })?;
    output(&mut ground.belljar(&up, &["down"]))?;
    let row = |what: &str, samples, most| {
        Row::new(what, Unit::Milliseconds, samples)
            .floor("`unshare -Urnpmif true`", &unshare)
            .budget(Budget::TimesFloor(most))
    };
    Ok(vec![
        row("`belljar run -- true`, empty stack", &run, 4.0),
        row("`belljar ls`", &ls, 2.7),
        row("`belljar ps`", &ps, 2.7),
    ])
}
