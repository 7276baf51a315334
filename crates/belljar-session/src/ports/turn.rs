//! Whose turn it is.

use std::sync::atomic::{AtomicUsize, Ordering};

use belljar_model::ReplicaState;

use super::Standing;

/// Gives everybody who comes to a port another of the replicas that it leads to.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    next: AtomicUsize,
}

impl Turn {
    /// Who of these is to be asked, best first: those that are ready take turns; where none is, those that run;
    /// where none does, those that are about to stop. Nobody: whose turn it would have been, if there is anyone.
    pub(crate) fn candidates(&self, mut replicas: Vec<Standing>) -> Result<Vec<Standing>, Option<Standing>> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let Some(best) = replicas.iter().filter_map(|one| rank(one.state)).min() else {
            let count = replicas.len().max(1);
            return Err(replicas.into_iter().nth(turn % count));
        };
        replicas.retain(|one| rank(one.state) == Some(best));
        let first = turn % replicas.len();
        replicas.rotate_left(first);
        Ok(replicas)
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
    use crate::ports::testing::standing;

    fn names(found: Vec<Standing>) -> Vec<String> {
        found.into_iter().map(|one| one.replica.to_string()).collect()
    }

    #[test]
    fn those_that_are_ready_take_turns() {
        use ReplicaState::{Exited, Paused, Ready, Running, Stopping};
        let turn = Turn::default();
        let three = |states: [ReplicaState; 3]| {
            states.iter().zip(1..).map(|(&state, number)| standing(number, state)).collect::<Vec<_>>()
        };
        let all = three([Ready, Running, Ready]);
        let firsts: Vec<_> = (0..3).map(|_| names(turn.candidates(all.clone()).unwrap())).collect();
        assert_eq!(firsts, [["api-1", "api-3"], ["api-3", "api-1"], ["api-1", "api-3"]]);
        assert_eq!(names(turn.candidates(three([Exited, Paused, Stopping])).unwrap()), ["api-2"]);
        assert_eq!(names(turn.candidates(three([Exited, Exited, Stopping])).unwrap()), ["api-3"]);
    }

    #[test]
    fn of_those_that_are_down_each_is_named_in_its_turn() {
        let turn = Turn::default();
        let down = [standing(1, ReplicaState::Exited), standing(2, ReplicaState::Failed)];
        let name = || turn.candidates(down.to_vec()).unwrap_err().unwrap().replica.to_string();
        assert_eq!([name(), name(), name()], ["api-1", "api-2", "api-1"]);
        assert_eq!(turn.candidates(Vec::new()), Err(None));
    }
}
