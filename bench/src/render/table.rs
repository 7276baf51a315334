//! Rows as a Markdown table.

use super::{budget, times, value};
use crate::row::{Came, Row};

const HEAD: &str = "| | median | p95 | beside it, in the same run | ratio | budget | |\n\
                    | --- | ---: | ---: | --- | ---: | ---: | --- |\n";

/// `date`: of the results; rows of another day say theirs.
pub(crate) fn table<'a>(rows: impl Iterator<Item = &'a Row>, date: &str) -> String {
    let lines = rows.map(|row| format!("| {} |\n", cells(row, date).join(" | ")));
    std::iter::once(HEAD.to_owned()).chain(lines).collect()
}

fn cells(row: &Row, date: &str) -> [String; 7] {
    let older = if row.date == date { String::new() } else { format!(" ({})", row.date) };
    let what = format!("{}{older}", row.what);
    let figure = match &row.came {
        Came::Measured(figure) => figure,
        Came::Skipped(why) => {
            let skipped = format!("skipped: {why}");
            return [
                what,
                String::new(),
                String::new(),
                skipped,
                String::new(),
                String::new(),
                String::new(),
            ];
        }
    };
    let beside = row.beside.as_ref().map_or_else(String::new, |beside| {
        format!("{}: {}", beside.what, value(row.unit, beside.figure.median))
    });
    // A single value has no percentiles.
    let p95 = if figure.runs > 1 { value(row.unit, figure.p95) } else { String::new() };
    let verdict = match row.excess() {
        Some(excess) if excess <= 1.0 => "met".to_owned(),
        Some(excess) if !excess.is_finite() || budgets_nothing(row) => "**missed**".to_owned(),
        Some(excess) => format!("**missed**, by {:.0} %", ((excess - 1.0) * 100.0).max(1.0)),
        None => String::new(),
    };
    [
        what,
        value(row.unit, figure.median),
        p95,
        beside,
        row.ratio().map_or_else(String::new, times),
        row.budget.map_or_else(String::new, |it| budget(row.unit, it)),
        verdict,
    ]
}

fn budgets_nothing(row: &Row) -> bool {
    row.budget == Some(crate::row::Budget::AtMost(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::sample;

    #[test]
    fn a_table_says_everything() {
        let results = sample();
        insta::assert_snapshot!(table(results.rows.iter(), &results.date));
    }
}
