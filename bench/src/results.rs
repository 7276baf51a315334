//! The file of results: what was measured, on which machine, and when.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::groups::GROUPS;
use crate::row::Row;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    /// The last day that anything was measured.
    pub(crate) date: String,
    pub(crate) rows: Vec<Row>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
    pub(crate) system: String,
    pub(crate) user: String,
}

impl Results {
    /// Rows of groups that were not measured now stay as they were, if this is the same machine.
    pub(crate) fn after(self, before: Option<Self>) -> Self {
        let before = before.filter(|before| before.machine == self.machine);
        let is_new = |group: &str| self.rows.iter().any(|row| row.group == group);
        let kept: Vec<Row> =
            before.into_iter().flat_map(|before| before.rows).filter(|row| !is_new(&row.group)).collect();
        let place = |row: &Row| GROUPS.iter().position(|group| group.name == row.group);
        let mut rows: Vec<Row> = self.rows.into_iter().chain(kept).collect();
        rows.sort_by_key(place);
        Self { rows, ..self }
    }

    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs_err::read_to_string(path).map_err(Error::io("read results"))?;
        serde_json::from_str(&text)
            .map_err(|error| Error::Nonsense { what: path.display().to_string(), why: error.to_string() })
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self)
            .map_err(|error| Error::Nonsense { what: "the results".to_owned(), why: error.to_string() })?;
        text.push('\n');
        fs_err::write(path, text).map_err(Error::io("write results"))
    }

    pub(crate) fn of_group<'a>(&'a self, group: &'a str) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(move |row| row.group == group)
    }
}

impl Machine {
    pub(crate) fn this() -> Self {
        let read = |path: &str| fs_err::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str, sign: char| {
            let value =
                text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(sign));
            value.map(|value| value.trim().trim_matches('"').to_owned()).unwrap_or_default()
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal", ':');
        let kibibytes: u64 =
            memory.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default();
        Self {
            cpu: field(&read("/proc/cpuinfo"), "model name", ':'),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            // The kernel keeps a part of it for itself.
            memory_gib: (kibibytes + (1 << 19)).div_ceil(1 << 20),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            system: field(&read("/etc/os-release"), "PRETTY_NAME", '='),
            user: if rustix::process::getuid().is_root() { "root" } else { "an ordinary user" }.to_owned(),
        }
    }
}

/// Results that show everything that can be shown, for the tests.
#[cfg(test)]
pub(crate) fn sample() -> Results {
    use crate::measure::Samples;
    use crate::row::{Budget, Unit};
    let samples = |values: &[f64]| Samples::from(values.to_vec());
    let ms = |what: &str, values: &[f64]| Row::new(what, Unit::Milliseconds, &samples(values));
    let group = |group: &str, row: Row| Row { group: group.to_owned(), date: "2026-11-20".to_owned(), ..row };
    Results {
        machine: Machine {
            cpu: "A Processor".to_owned(),
            cores: 2,
            memory_gib: 24,
            kernel: "6.18.0".to_owned(),
            system: "Debian 12".to_owned(),
            user: "root".to_owned(),
        },
        date: "2026-11-21".to_owned(),
        rows: vec![
            group(
                "session",
                ms("ready, leased", &[6.0, 7.0, 9.5])
                    .floor("bare", &samples(&[1.5, 2.0, 2.5]))
                    .budget(Budget::AtMost(8.0)),
            ),
            group("session", ms("ended <at once>", &[12.0]).budget(Budget::AtMost(5.0))),
            group(
                "rate",
                Row::new("4 at once", Unit::PerSecond, &samples(&[90.0, 110.0, 120.0]))
                    .budget(Budget::AtLeast(100.0)),
            ),
            group("servers", Row::skipped("all servers", "redis-server is not installed")),
            group(
                "compose",
                ms("up", &[20.0, 25.0])
                    .peer("docker-compose", &samples(&[3000.0]))
                    .budget(Budget::TimesBetter(150.0)),
            ),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(results: &Results) -> Vec<&str> {
        results.rows.iter().map(|row| row.what.as_str()).collect()
    }

    #[test]
    fn what_was_not_measured_again_stays() {
        let mut now = sample();
        now.rows.retain(|row| row.group == "rate");
        now.rows[0].what = "measured again".to_owned();
        let joined = now.after(Some(sample()));
        assert_eq!(
            titles(&joined),
            ["ready, leased", "ended <at once>", "measured again", "all servers", "up"]
        );
    }

    #[test]
    fn another_machines_figures_are_not_mixed_in() {
        let mut before = sample();
        before.machine.cores = 64;
        let mut now = sample();
        now.rows.truncate(1);
        assert_eq!(titles(&now.after(Some(before))), ["ready, leased"]);
    }

    #[test]
    fn results_survive_their_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.json");
        sample().write(&path).unwrap();
        assert_eq!(Results::read(&path).unwrap(), sample());
    }
}
