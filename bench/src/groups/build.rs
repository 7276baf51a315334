//! How long the first build takes for whoever has just cloned the repository.

use std::process::Command;

use crate::error::Result;
use crate::ground::{Ground, time};
use crate::measure::Samples;
use crate::repository;
use crate::row::{Budget, Row, Unit};

const FOUR_MINUTES: f64 = 240_000.0;

pub(super) fn measure(ground: &Ground) -> Result<Vec<Row>> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--locked", "--quiet", "-p", "belljar"]).current_dir(repository());
    let took = time(cargo.env("CARGO_TARGET_DIR", ground.path("target")))?;
    let samples = Samples::from(vec![took]);
    Ok(vec![
        Row::new("`cargo build --release`, crates downloaded already", Unit::Milliseconds, &samples)
            .budget(Budget::AtMost(FOUR_MINUTES)),
    ])
}
