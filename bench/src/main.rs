//! What belljar costs, beside what the kernel, the servers and others cost in the same run.
//!
//! Absolute times differ from machine to machine; the ratio to what was measured in turns with it does not, much. A
//! budget is only shown: nothing here fails because a machine is busy.

mod docker;
mod error;
mod floors;
mod ground;
mod groups;
mod measure;
mod render;
mod results;
mod row;
mod worker;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser as _;

use crate::error::{Error, Result};
use crate::ground::Ground;
use crate::groups::{GROUPS, Group};
use crate::render::{Page, table, write_page};
use crate::results::{Machine, Results};

/// Measure belljar
#[derive(Debug, clap::Parser)]
struct Args {
    /// Groups of measurements [default: all but those that say otherwise in `--list`]
    #[arg(value_name = "GROUP")]
    groups: Vec<String>,
    /// Only list the groups
    #[arg(long)]
    list: bool,
    /// Write the results to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure nothing: take the results of this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["groups", "list"])]
    from: Option<PathBuf>,
    /// Put the results into the documentation: table, picture and bench/results.json. What is not measured now
    /// stays as it was
    #[arg(long)]
    page: bool,
}

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|verb| verb == worker::VERB) {
        let words: Vec<_> = words.collect();
        return carry(&words);
    }
    match measure(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("bench: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn carry(words: &[std::ffi::OsString]) -> ExitCode {
    let [stack, state, slots] = words else { return ExitCode::FAILURE };
    let slots = slots.to_str().and_then(|slots| slots.parse().ok()).unwrap_or_default();
    match worker::run(Path::new(stack), Path::new(state), slots) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("bench: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args) -> Result<()> {
    if args.list {
        let lines = GROUPS.iter().map(|group| {
            let asked = if group.only_named { " (only when it is named)" } else { "" };
            format!("{:<10} {}{asked}\n", group.name, group.about)
        });
        return say(&lines.collect::<String>());
    }
    let results = match &args.from {
        Some(path) => Results::read(path)?,
        None => run(args)?,
    };
    if let Some(path) = &args.json {
        results.write(path)?;
    }
    if args.page {
        let page = Page::here();
        let before = Results::read(&page.results).ok();
        write_page(&page, &results.after(before))?;
    }
    Ok(())
}

fn run(args: &Args) -> Result<Results> {
    let groups: Vec<&Group> = if args.groups.is_empty() {
        GROUPS.iter().filter(|group| !group.only_named).collect()
    } else {
        args.groups.iter().map(|name| Group::named(name)).collect::<Result<_>>()?
    };
    let date = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    let mut rows = Vec::new();
    for group in groups {
        let begun = Instant::now();
        let ground = Ground::new()?;
        let measured = group.rows(&ground, &date)?;
        say(&format!("## {}\n\n{}\n", group.about, table(measured.iter(), &date)))?;
        tell(&format!("bench: {} took {:.0} s", group.name, begun.elapsed().as_secs_f64()));
        rows.extend(measured);
    }
    Ok(Results { machine: Machine::this(), date, rows })
}

/// This repository, in which we were built.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn say(text: &str) -> Result<()> {
    std::io::stdout().lock().write_all(text.as_bytes()).map_err(Error::io("say what was measured"))
}

fn tell(text: &str) {
    // Nobody can be told that nobody can be told.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
