//! Results for people: tables, a picture, and the page of the documentation that has both.

mod page;
mod picture;
mod table;

pub(crate) use page::{Page, write_page};
pub(crate) use table::table;

use crate::row::{Budget, Unit};

/// A value as people read it: three digits, in the unit that suits it.
pub(crate) fn value(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Milliseconds if value < 0.995 => format!("{:.0} µs", value * 1e3),
        Unit::Milliseconds if value >= 999.5 => format!("{} s", digits(value / 1e3)),
        Unit::Milliseconds => format!("{} ms", digits(value)),
        Unit::PerSecond => format!("{} /s", digits(value)),
        Unit::Mebibytes => format!("{} MiB", digits(value)),
    }
}

pub(crate) fn times(ratio: f64) -> String {
    format!("{} ×", digits(ratio))
}

fn digits(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        ..9.995 => format!("{value:.2}"),
        ..99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

pub(crate) fn budget(unit: Unit, budget: Budget) -> String {
    // A round number is one.
    let plain = |number: f64| value(unit, number).replacen(".00", "", 1).replacen(".0", "", 1);
    match budget {
        Budget::AtMost(0.0) => "0".to_owned(),
        Budget::AtMost(most) => format!("≤ {}", plain(most)),
        Budget::AtMostWithP95(median, p95) => format!("≤ {}, p95 ≤ {}", plain(median), plain(p95)),
        Budget::AtLeast(least) => format!("≥ {}", plain(least)),
        Budget::TimesFloor(most) => format!("≤ {most} ×"),
        Budget::TimesBetter(least) => format!("≥ {least} ×"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_three_digits() {
        let ms = |number| value(Unit::Milliseconds, number);
        let shown = [0.066, 0.4, 1.0, 12.34, 282.4, 3180.0, 21_400.0].map(ms);
        assert_eq!(shown, ["66 µs", "400 µs", "1.00 ms", "12.3 ms", "282 ms", "3.18 s", "21.4 s"]);
        assert_eq!(value(Unit::PerSecond, 0.0), "0 /s");
        assert_eq!(value(Unit::Mebibytes, 6.4321), "6.43 MiB");
    }

    #[test]
    fn budgets_are_round() {
        let shown = [
            budget(Unit::Milliseconds, Budget::AtMost(15.0)),
            budget(Unit::Milliseconds, Budget::AtMostWithP95(1.0, 5.0)),
            budget(Unit::PerSecond, Budget::AtLeast(100.0)),
            budget(Unit::Milliseconds, Budget::TimesFloor(2.7)),
            budget(Unit::Milliseconds, Budget::AtMost(240_000.0)),
            budget(Unit::PerSecond, Budget::AtMost(0.0)),
        ];
        assert_eq!(shown, ["≤ 15 ms", "≤ 1 ms, p95 ≤ 5 ms", "≥ 100 /s", "≤ 2.7 ×", "≤ 240 s", "0"]);
    }
}
