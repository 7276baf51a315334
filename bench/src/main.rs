//! What belljar costs, beside what the kernel and the servers cost in the same run.
//!
//! Absolute times differ from machine to machine; the ratio to the floor of the same run does not, much. Each row
//! is a median and a 95th percentile over the runs, its floor, and the ratio of the medians. A budget is only
//! shown: nothing here fails because a machine is busy.

mod measure;
mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use measure::{Bench, Error, Samples};
use report::Row;

/// Enough for a 95th percentile that is not the worst run.
const RUNS: usize = 40;

fn main() -> ExitCode {
    let result = Bench::new().and_then(|bench| rows(&bench));
    match result {
        Ok(rows) => {
            report::print(&rows);
            ExitCode::SUCCESS
        }
        Err(error) => {
            report::complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn rows(bench: &Bench) -> Result<Vec<Row>, Error> {
    let unshare = Samples::of(RUNS, || Bench::time("unshare", &["-Urnpmif", "true"], Path::new("/")))?;
    let empty = bench.stack("empty", "name = \"empty\"\n")?;
    let run = Samples::of(RUNS, || bench.belljar(&["run", "--", "true"], &empty))?;
    let ls = Samples::of(RUNS, || bench.belljar(&["ls"], &empty))?;

    let six = bench.stack("six", &six_replicas(&bench.fixture))?;
    let mut ready = Vec::new();
    let mut noticed = Vec::new();
    let whole = Samples::of(RUNS, || {
        let time = bench.belljar(&["run", "--", "true"], &six)?;
        let session = bench.last_session()?;
        ready.push(session.until_ready);
        noticed.extend(session.ready_ms);
        Ok(time)
    })?;

    Ok(vec![
        Row::new("run -- true, empty stack, whole process", &run, Some(("unshare true", &unshare)), "≤ 4 ×"),
        Row::new("ls, whole process", &ls, Some(("unshare true", &unshare)), "≤ 2.7 ×"),
        Row::new("six replicas: first event → all ready", &Samples::from(ready), None, "≤ 15 ms"),
        Row::new("one of six: its start → known to be ready", &Samples::from(noticed), None, ""),
        Row::new("six replicas: run -- true, whole process", &whole, Some(("empty stack", &run)), ""),
    ])
}

fn six_replicas(fixture: &Path) -> String {
    format!(
        "name = \"six\"\n[service.app]\nrun = [\"{}\", \"tcp\", \"--port\", \"8080\"]\nreplicas = 6\n\
         ports = {{ main = 8080 }}\n",
        fixture.display()
    )
}

/// The program that stands beside us: both were built by the same cargo.
fn beside_us(name: &str) -> Result<PathBuf, Error> {
    let us =
        std::env::current_exe().map_err(|source| Error::Io { what: "find ourselves".to_owned(), source })?;
    let path = us.with_file_name(name);
    if path.exists() { Ok(path) } else { Err(Error::NotBuilt(path)) }
}

/// Milliseconds, as people read them.
fn milliseconds(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}
