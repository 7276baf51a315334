//! Whose turn it is.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use belljar_model::ReplicaState;

use super::Standing;
use crate::machine::ReplicaIndex;

/// The replicas that a port leads to, one after another.
#[derive(Debug)]
pub(crate) struct Turn {
    replicas: Range<ReplicaIndex>,
    next: AtomicUsize,
}

impl Turn {
    pub(crate) fn new(replicas: Range<ReplicaIndex>) -> Self {
        Self { replicas, next: AtomicUsize::new(0) }
    }

    /// Who is to be asked, best first: those that are ready take turns; where none is, those that run; where
    /// none does, those that are about to stop. Nobody: whose turn it would have been.
    pub(crate) fn candidates(&self, standings: &[Standing]) -> Result<Vec<ReplicaIndex>, ReplicaIndex> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let rank = |replica: &ReplicaIndex| standings.get(*replica).map_or(Some(0), |one| rank(one.state));
        let Some(best) = self.replicas.clone().filter_map(|replica| rank(&replica)).min() else {
            let count = self.replicas.len().max(1);
            return Err(self.replicas.start + turn % count);
        };
        let mut fit: Vec<_> = self.replicas.clone().filter(|replica| rank(replica) == Some(best)).collect();
        let first = turn % fit.len();
        fit.rotate_left(first);
        Ok(fit)
    }
}

/// Whether a replica has no process that could answer.
pub(crate) fn is_down(state: ReplicaState) -> bool {
    rank(state).is_none()
}

fn rank(state: ReplicaState) -> Option<u8> {
    match state {
        ReplicaState::Ready => Some(0),
        // A paused one is silent, as it is to everybody else.
        ReplicaState::Running | ReplicaState::Unhealthy | ReplicaState::Paused => Some(1),
        ReplicaState::Stopping => Some(2),
        ReplicaState::Pending | ReplicaState::Starting | ReplicaState::Exited | ReplicaState::Failed => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standings(states: &[ReplicaState]) -> Vec<Standing> {
        states.iter().map(|&state| Standing { state, restarting: false }).collect()
    }

    #[test]
    fn those_that_are_ready_take_turns() {
        use ReplicaState::{Exited, Paused, Ready, Running, Stopping};
        let turn = Turn::new(1..4);
        let all = standings(&[Exited, Ready, Running, Ready]);
        let firsts: Vec<_> = (0..4).map(|_| turn.candidates(&all).unwrap()).collect();
        assert_eq!(firsts, [vec![1, 3], vec![3, 1], vec![1, 3], vec![3, 1]]);
        let none_ready = standings(&[Ready, Exited, Paused, Stopping]);
        assert_eq!(turn.candidates(&none_ready), Ok(vec![2]));
        let stopping = standings(&[Ready, Exited, Exited, Stopping]);
        assert_eq!(turn.candidates(&stopping), Ok(vec![3]));
    }

    #[test]
    fn of_those_that_are_down_each_is_named_in_its_turn() {
        let turn = Turn::new(1..3);
        let down = standings(&[ReplicaState::Ready, ReplicaState::Exited, ReplicaState::Failed]);
        assert_eq!(turn.candidates(&down), Err(1));
        assert_eq!(turn.candidates(&down), Err(2));
        assert_eq!(turn.candidates(&down), Err(1));
    }
}
