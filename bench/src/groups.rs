//! What can be measured: a file per group of budgets.

mod build;
mod commands;
mod compose;
mod crowd;
mod idle;
mod rate;
mod readiness;
mod servers;
mod session;

use crate::error::{Error, Result};
use crate::ground::Ground;
use crate::row::Row;

pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// The same in a picture, where there is less room.
    pub(crate) heading: &'static str,
    /// Takes so long, or needs so much, that it has to be asked for.
    pub(crate) only_named: bool,
    measure: fn(&Ground) -> Result<Vec<Row>>,
}

/// In the order of the page.
pub(crate) const GROUPS: &[Group] = &[
    Group {
        name: "session",
        about: "a session of six trivial replicas: until all are ready and known to be, and until it has ended",
        heading: "Six trivial replicas",
        only_named: false,
        measure: session::measure,
    },
    Group {
        name: "readiness",
        about: "how long after listen() a replica is known to be ready",
        heading: "listen() returned, until it is known",
        only_named: false,
        measure: readiness::measure,
    },
    Group {
        name: "rate",
        about: "sessions a second, one after the other and at once",
        heading: "Several sessions at once",
        only_named: false,
        measure: rate::measure,
    },
    Group {
        name: "servers",
        about: "PostgreSQL, NATS, Redis and three HTTP servers in one session",
        heading: "Real servers",
        only_named: false,
        measure: servers::measure,
    },
    Group {
        name: "commands",
        about: "whole commands, as a shell runs them",
        heading: "Whole commands",
        only_named: false,
        measure: commands::measure,
    },
    Group {
        name: "idle",
        about: "what an idle session costs: memory, and how often it wakes up",
        heading: "An idle session",
        only_named: false,
        measure: idle::measure,
    },
    Group {
        name: "crowd",
        about: "200 idle sessions alive at once",
        heading: "Among 200 sessions",
        only_named: false,
        measure: crowd::measure,
    },
    Group {
        name: "compose",
        about: "the same six services by belljar and by docker-compose, one copy and eight at once",
        heading: "Six services, side by side",
        only_named: false,
        measure: compose::measure,
    },
    Group {
        name: "build",
        about: "the first release build, in an empty target directory",
        heading: "The first build",
        only_named: true,
        measure: build::measure,
    },
];

impl Group {
    pub(crate) fn named(name: &str) -> Result<&'static Self> {
        GROUPS.iter().find(|group| group.name == name).ok_or_else(|| Error::NoSuchGroup(name.to_owned()))
    }

    /// Measures, and puts its name and the date on every row.
    pub(crate) fn rows(&self, ground: &Ground, date: &str) -> Result<Vec<Row>> {
        let rows = (self.measure)(ground)?;
        let named = |row| Row { group: self.name.to_owned(), date: date.to_owned(), ..row };
        Ok(rows.into_iter().map(named).collect())
    }
}
