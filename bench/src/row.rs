//! One line of the results: what was measured, what beside it, and what is allowed. This is what is kept in a
//! file, and all that tables and pictures are made from.

use serde::{Deserialize, Serialize};

use crate::measure::Samples;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// The group that measures it: `./x bench GROUP`.
    pub(crate) group: String,
    pub(crate) what: String,
    pub(crate) unit: Unit,
    /// The day it was measured.
    #[serde(default)]
    pub(crate) date: String,
    #[serde(flatten)]
    pub(crate) came: Came,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) beside: Option<Beside>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) budget: Option<Budget>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Came {
    Measured(Figure),
    /// Why not.
    Skipped(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) runs: usize,
    pub(crate) median: f64,
    /// Of a hundred, 95 are no worse: no longer, or no fewer a second.
    pub(crate) p95: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    Milliseconds,
    PerSecond,
    Mebibytes,
}

/// What was measured in turns with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Beside {
    pub(crate) kind: Kind,
    pub(crate) what: String,
    #[serde(flatten)]
    pub(crate) figure: Figure,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// What it cannot be better than.
    Floor,
    /// Something else that does the same.
    Peer,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Budget {
    AtMost(f64),
    /// The median and the 95th percentile.
    AtMostWithP95(f64, f64),
    AtLeast(f64),
    /// So many times its floor.
    TimesFloor(f64),
    /// So many times better than its peer.
    TimesBetter(f64),
}

impl Unit {
    /// Whether more is better.
    fn grows(self) -> bool {
        self == Self::PerSecond
    }

    fn figure(self, samples: &Samples) -> Figure {
        let worst = if self.grows() { 5 } else { 95 };
        Figure { runs: samples.len(), median: samples.median(), p95: samples.quantile(worst) }
    }
}

impl Row {
    pub(crate) fn new(what: &str, unit: Unit, samples: &Samples) -> Self {
        Self {
            group: String::new(),
            what: what.to_owned(),
            unit,
            date: String::new(),
            came: Came::Measured(unit.figure(samples)),
            beside: None,
            budget: None,
        }
    }

    pub(crate) fn skipped(what: &str, why: &str) -> Self {
        let came = Came::Skipped(why.to_owned());
        Self { came, ..Self::new(what, Unit::Milliseconds, &Samples::from(Vec::new())) }
    }

    pub(crate) fn floor(self, what: &str, samples: &Samples) -> Self {
        self.beside(Kind::Floor, what, samples)
    }

    pub(crate) fn peer(self, what: &str, samples: &Samples) -> Self {
        self.beside(Kind::Peer, what, samples)
    }

    pub(crate) fn budget(self, budget: Budget) -> Self {
        Self { budget: Some(budget), ..self }
    }

    fn beside(self, kind: Kind, what: &str, samples: &Samples) -> Self {
        let figure = self.unit.figure(samples);
        Self { beside: Some(Beside { kind, what: what.to_owned(), figure }), ..self }
    }

    pub(crate) fn figure(&self) -> Option<Figure> {
        match self.came {
            Came::Measured(figure) => Some(figure),
            Came::Skipped(_) => None,
        }
    }

    /// Times its floor, or times better than its peer, by the medians.
    pub(crate) fn ratio(&self) -> Option<f64> {
        let (ours, beside) = (self.figure()?.median, self.beside.as_ref()?);
        let theirs = beside.figure.median;
        let ratio = match beside.kind {
            Kind::Floor => ours / theirs,
            Kind::Peer if self.unit.grows() => ours / theirs,
            Kind::Peer => theirs / ours,
        };
        ratio.is_finite().then_some(ratio)
    }

    /// How many times as much as allowed it is; up to 1 is within the budget.
    pub(crate) fn excess(&self) -> Option<f64> {
        let figure = self.figure()?;
        match self.budget? {
            // Of nothing, anything is too much; the smallest that a table shows is a hundredth.
            Budget::AtMost(0.0) => Some(figure.median * 100.0),
            Budget::AtMost(most) => Some(figure.median / most),
            Budget::AtMostWithP95(median, p95) => Some((figure.median / median).max(figure.p95 / p95)),
            Budget::AtLeast(least) => Some(least / figure.median),
            Budget::TimesFloor(most) => Some(self.ratio()? / most),
            Budget::TimesBetter(least) => Some(least / self.ratio()?),
        }
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these come out exactly, or are wrong")]
mod tests {
    use super::*;

    fn row(unit: Unit, values: [f64; 3]) -> Row {
        Row::new("it", unit, &Samples::from(values.to_vec()))
    }

    fn samples(value: f64) -> Samples {
        Samples::from(vec![value])
    }

    #[test]
    fn a_budget_is_met_or_missed_by_a_factor() {
        let ten = || row(Unit::Milliseconds, [8.0, 10.0, 30.0]);
        let excess = |row: Row| row.excess().unwrap();
        assert_eq!(excess(ten().budget(Budget::AtMost(20.0))), 0.5);
        assert_eq!(excess(ten().budget(Budget::AtMostWithP95(20.0, 15.0))), 2.0);
        assert_eq!(excess(ten().floor("f", &samples(5.0)).budget(Budget::TimesFloor(4.0))), 0.5);
        assert_eq!(excess(ten().peer("p", &samples(1000.0)).budget(Budget::TimesBetter(150.0))), 1.5);
        assert_eq!(excess(row(Unit::PerSecond, [40.0, 50.0, 60.0]).budget(Budget::AtLeast(100.0))), 2.0);
        assert_eq!(ten().excess(), None);
        assert_eq!(ten().budget(Budget::TimesFloor(4.0)).excess(), None);
    }

    #[test]
    fn nothing_is_allowed_means_nothing() {
        let idle = |value| row(Unit::PerSecond, [value; 3]).budget(Budget::AtMost(0.0)).excess().unwrap();
        assert!(idle(0.0) <= 1.0);
        assert!(idle(0.1) > 1.0);
    }

    #[test]
    fn the_worst_of_a_rate_is_its_least() {
        let figure = row(Unit::PerSecond, [40.0, 50.0, 60.0]).figure().unwrap();
        assert_eq!(figure, Figure { runs: 3, median: 50.0, p95: 40.0 });
        assert_eq!(row(Unit::Milliseconds, [40.0, 50.0, 60.0]).figure().unwrap().p95, 60.0);
    }

    #[test]
    fn a_row_survives_its_file() {
        let measured = row(Unit::Milliseconds, [1.0, 2.0, 3.0])
            .floor("bare", &samples(1.0))
            .budget(Budget::AtMostWithP95(1.0, 5.0));
        for row in [measured, Row::skipped("it", "no docker")] {
            let text = serde_json::to_string(&row).unwrap();
            assert_eq!(serde_json::from_str::<Row>(&text).unwrap(), row, "{text}");
        }
    }
}
