//! Samples of one thing, and the way in which they are taken: in turns with what they are compared with, so that
//! whatever else the machine does meets both alike.

use std::time::{Duration, Instant};

use crate::error::Result;

/// Measured values of one thing, in their order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(50)
    }

    /// The smallest value that at least this part of a hundred does not exceed.
    pub(crate) fn quantile(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied().unwrap_or(f64::NAN)
    }
}

impl From<Vec<f64>> for Samples {
    fn from(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self::from(values.into_iter().collect::<Vec<f64>>())
    }
}

/// Takes as many rounds of values that belong together as wanted, after one round that does not count.
pub(crate) fn in_turns<const N: usize>(
    rounds: usize,
    mut round: impl FnMut() -> Result<[f64; N]>,
) -> Result<[Samples; N]> {
    round()?;
    let rows: Vec<[f64; N]> = (0..rounds).map(|_| round()).collect::<Result<_>>()?;
    Ok(std::array::from_fn(|column| rows.iter().map(|row| row[column]).collect()))
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// How long it took, in milliseconds, and what came of it.
pub(crate) fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    let start = Instant::now();
    let done = work()?;
    Ok((milliseconds(start.elapsed()), done))
}

/// Lets the machine come to rest: the kernel still ends the networks of what was measured last, and keeps its
/// network lock meanwhile.
#[expect(clippy::disallowed_methods, reason = "nothing says when the kernel is done with what nobody sees")]
pub(crate) fn rest(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these come out exactly, or are wrong")]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let samples: Samples = (1..=20).rev().map(f64::from).collect();
        let taken = [0, 5, 50, 95, 100].map(|percent| samples.quantile(percent));
        assert_eq!(taken, [1.0, 1.0, 10.0, 19.0, 20.0]);
        assert_eq!(Samples::from(vec![7.0]).quantile(95), 7.0);
        assert!(Samples::from(Vec::new()).median().is_nan());
    }

    #[test]
    fn the_first_round_does_not_count_and_columns_stay_together() {
        let mut round = 0.0;
        let [ours, floor] = in_turns(3, || {
            round += 1.0;
            Ok([round * 10.0, round])
        })
        .unwrap();
        assert_eq!(ours, Samples::from(vec![20.0, 30.0, 40.0]));
        assert_eq!(floor, Samples::from(vec![2.0, 3.0, 4.0]));
    }

    #[test]
    fn a_round_that_fails_ends_it() {
        let mut rounds = 0;
        let failed = in_turns::<1>(5, || {
            rounds += 1;
            if rounds == 3 { Err(Error::Worker("gone".to_owned())) } else { Ok([0.0]) }
        });
        assert!(matches!(failed, Err(Error::Worker(_))));
        assert_eq!(rounds, 3);
    }
}
