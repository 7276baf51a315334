//! Watching replicas that are ready. A service that does not ask for it costs nothing: nobody wakes up for it.

use std::sync::Arc;

use belljar_stack::plan::{HealthPlan, ReadyPlan};
use tokio::time::sleep;

use super::Shared;
use super::readiness::{self, Subject};
use crate::machine::{ReplicaIndex, Report};

impl Shared {
    /// Reports whenever the health of this generation turns, until it is told to stop.
    pub(super) async fn watch_health(
        self: Arc<Self>,
        replica: ReplicaIndex,
        generation: u32,
        mut well: bool,
    ) {
        let Some(live) = self.live(replica).filter(|live| live.generation == generation) else { return };
        let Some(health) = self.replica_plan(replica).health.clone() else { return };
        let subject = self.subject(replica, &live);
        loop {
            sleep(health.every).await;
            let holds = if well {
                still_holds(&subject, &health).await
            } else {
                readiness::once(&subject, &health.check).await
            };
            match holds {
                Ok(()) if !well => self.report(Report::ReplicaWell { replica, generation }),
                Err(why) if well => {
                    let last_lines = live.log.last_lines();
                    self.report(Report::ReplicaUnwell { replica, generation, why, last_lines });
                }
                _ => continue,
            }
            well = !well;
        }
    }
}

/// A check that fails is made again until its time is over: one look that met a bad moment turns nothing.
async fn still_holds(subject: &Subject, health: &HealthPlan) -> Result<(), String> {
    let Err(why) = readiness::once(subject, &health.check).await else { return Ok(()) };
    if health.within.is_zero() {
        return Err(why);
    }
    let plan =
        ReadyPlan { check: health.check.clone(), within: health.within, stable: std::time::Duration::ZERO };
    readiness::watch(subject, &plan).await.map_err(|error| error.to_string())
}
