//! The order of starting, and the cycles that leave none.

/// What stands before what: `edges[unit]` are the units that `unit` comes after.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sorted {
    /// Every unit after those it comes after; else in the order given.
    pub(crate) order: Vec<usize>,
    /// Each cycle as the units on it: every one comes after the next, and the last after the first.
    pub(crate) cycles: Vec<Vec<usize>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Visit {
    Not,
    UnderWay,
    Done,
}

/// Sorts units so that each comes after what it depends on.
pub(crate) fn sort(edges: &[Vec<usize>]) -> Sorted {
    let mut visits = vec![Visit::Not; edges.len()];
    let mut sorted = Sorted { order: Vec::new(), cycles: Vec::new() };
    // The path under way is kept by hand: a stack file may make it longer than the thread's stack is deep.
    let mut path: Vec<(usize, usize)> = Vec::new();
    for start in 0..edges.len() {
        if visits[start] == Visit::Not {
            visits[start] = Visit::UnderWay;
            path.push((start, 0));
        }
        while let Some((unit, next)) = path.last_mut() {
            let Some(&on) = edges[*unit].get(*next) else {
                visits[*unit] = Visit::Done;
                sorted.order.push(*unit);
                path.pop();
                continue;
            };
            *next += 1;
            match visits[on] {
                Visit::Not => {
                    visits[on] = Visit::UnderWay;
                    path.push((on, 0));
                }
                Visit::UnderWay => {
                    let from = path.iter().position(|(one, _)| *one == on).unwrap_or_default();
                    sorted.cycles.push(path[from..].iter().map(|(one, _)| *one).collect());
                }
                Visit::Done => {}
            }
        }
    }
    sorted
}

#[cfg(test)]
mod tests {
    use super::sort;

    #[test]
    fn what_is_depended_on_comes_first_and_the_file_decides_the_rest() {
        assert_eq!(sort(&[vec![], vec![0], vec![]]).order, [0, 1, 2]);
        assert_eq!(sort(&[vec![2], vec![], vec![1]]).order, [1, 2, 0]);
        assert_eq!(sort(&[vec![1, 2], vec![3], vec![3], vec![]]).order, [3, 1, 2, 0]);
    }

    #[test]
    fn every_cycle_is_found_whole() {
        let sorted = sort(&[vec![1], vec![2], vec![1], vec![4], vec![3]]);
        assert_eq!(sorted.cycles, [vec![1, 2], vec![3, 4]]);
    }

    #[test]
    fn a_very_long_chain_is_sorted_too() {
        let edges: Vec<_> =
            (0..200_000).map(|unit| if unit == 0 { vec![] } else { vec![unit - 1] }).rev().collect();
        let last = edges.len() - 1;
        let edges: Vec<_> =
            edges.into_iter().map(|on| on.into_iter().map(|unit| last - unit).collect()).collect();
        assert_eq!(sort(&edges).order.first(), Some(&last));
    }
}
