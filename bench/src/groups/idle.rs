//! What a session costs while nothing happens in it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::ground::{Ground, REPLICAS, output};
use crate::measure::{Samples, rest};
use crate::row::{Budget, Row, Unit};

/// What the start stirred up is over by then, the runtime's spare threads among it, which end after ten seconds.
const SETTLED: Duration = Duration::from_secs(12);
const WATCHED: Duration = Duration::from_secs(10);

pub(super) fn measure(ground: &Ground) -> Result<Vec<Row>> {
    let stack = ground.stack("idle", &ground.service(REPLICAS, 0))?;
    output(&mut ground.belljar(&stack, &["up"]))?;
    let measured = watch(ground, &stack);
    output(&mut ground.belljar(&stack, &["down"]))?;
    measured
}

fn watch(ground: &Ground, stack: &Path) -> Result<Vec<Row>> {
    let sessions = ground.belljar_json(stack, &["ls"])?;
    let host = sessions["sessions"][0]["host_pid"].as_u64();
    let host = host.and_then(|pid| u32::try_from(pid).ok()).ok_or_else(|| nonsense("ls", "no host_pid"))?;
    let zygote = child_of(host)?;
    let init = child_of(zygote)?;
    let ours = [host, zygote, init];
    rest(SETTLED);
    let before = switches(&ours)?;
    rest(WATCHED);
    let wakes = f64::from(wakes(&before, &switches(&ours)?)) / WATCHED.as_secs_f64();
    let row = |what: &str, unit, value| Row::new(what, unit, &Samples::from(vec![value]));
    let all: f64 = ours.iter().map(|pid| kibibytes(*pid, "smaps_rollup", "Pss:")).sum::<Result<f64>>()?;
    Ok(vec![
        row(
            "host process: resident memory (RSS)",
            Unit::Mebibytes,
            kibibytes(host, "status", "VmRSS:")? / 1024.0,
        )
        .budget(Budget::AtMost(8.0)),
        row(
            "host process: the most it ever was (VmHWM)",
            Unit::Mebibytes,
            kibibytes(host, "status", "VmHWM:")? / 1024.0,
        ),
        row(
            "host process: its share (PSS)",
            Unit::Mebibytes,
            kibibytes(host, "smaps_rollup", "Pss:")? / 1024.0,
        ),
        row("host, zygote and init: their share (PSS)", Unit::Mebibytes, all / 1024.0),
        row("wake-ups of host, zygote and init, over 10 s", Unit::PerSecond, wakes)
            .budget(Budget::AtMost(0.0)),
    ])
}

/// The one process that this one has made.
fn child_of(pid: u32) -> Result<u32> {
    for task in tasks(pid)? {
        let children = read(&format!("/proc/{pid}/task/{task}/children"))?;
        if let Some(child) = children.split_whitespace().next().and_then(|child| child.parse().ok()) {
            return Ok(child);
        }
    }
    Err(nonsense(&format!("process {pid}"), "it has no child"))
}

/// How often each thread of theirs was switched to and away from.
fn switches(pids: &[u32]) -> Result<BTreeMap<String, u32>> {
    let mut all = BTreeMap::new();
    for pid in pids {
        for task in tasks(*pid)? {
            let status = read(&format!("/proc/{pid}/task/{task}/status"))?;
            let switches =
                number(&status, "voluntary_ctxt_switches:") + number(&status, "nonvoluntary_ctxt_switches:");
            all.insert(task, switches);
        }
    }
    Ok(all)
}

/// How often they ran meanwhile. A thread that has ended did so at least once.
fn wakes(before: &BTreeMap<String, u32>, after: &BTreeMap<String, u32>) -> u32 {
    let ended = before.keys().filter(|task| !after.contains_key(*task)).count();
    let lived: u32 = after
        .iter()
        .map(|(task, count)| count.saturating_sub(before.get(task).copied().unwrap_or_default()))
        .sum();
    lived + u32::try_from(ended).unwrap_or(u32::MAX)
}

fn tasks(pid: u32) -> Result<Vec<String>> {
    let entries = fs_err::read_dir(format!("/proc/{pid}/task")).map_err(Error::io("list threads"))?;
    Ok(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

fn kibibytes(pid: u32, file: &str, field: &str) -> Result<f64> {
    Ok(f64::from(number(&read(&format!("/proc/{pid}/{file}"))?, field)))
}

fn number(text: &str, field: &str) -> u32 {
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

fn read(path: &str) -> Result<String> {
    fs_err::read_to_string(path).map_err(Error::io("look at a process"))
}

fn nonsense(what: &str, why: &str) -> Error {
    Error::Nonsense { what: what.to_owned(), why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wakes_are_counted_thread_by_thread() {
        let counts =
            |all: &[(&str, u32)]| all.iter().map(|(task, count)| ((*task).to_owned(), *count)).collect();
        let before = counts(&[("1", 100), ("2", 900), ("3", 5)]);
        assert_eq!(wakes(&before, &before), 0);
        assert_eq!(wakes(&before, &counts(&[("1", 103), ("3", 5), ("4", 2)])), 3 + 2 + 1);
    }
}
