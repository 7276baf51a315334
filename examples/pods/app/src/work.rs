//! Streams: numbered chunks that a pod sends one by one, and that another pod goes on with when the first one dies.
//!
//! PostgreSQL says *who* works on a stream (`owner`, `epoch`), JetStream says *how far* it has come (its last
//! record). A take-over is one atomic update that raises the epoch, so it has one winner. The winner then writes an
//! `owner` record, and from there on an earlier owner that was only paused or cut off cannot write: each record is
//! appended on the condition that a given one is the last.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use crate::bus::{Appended, Bus, BusError, Placed, Record};
use crate::db::{Db, DbError};
use crate::heartbeat::{self, Incarnation};
use crate::job::{Job, Step};
use crate::log::{chain, say};

/// How often a pod looks for streams that nobody works on.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Between two attempts to reach the bus.
const RETRY: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Done,
    Fenced,
    /// The pod shuts down.
    Released,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkError {
    #[error("this pod shuts down")]
    Closing,
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Bus(#[from] BusError),
}

#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) me: Incarnation,
    db: Arc<Db>,
    bus: Arc<Bus>,
    closing: watch::Receiver<bool>,
    /// By stream. Held while a stream changes hands, so that a look-round never takes a stream for an orphan that
    /// is about to be worked on.
    running: Mutex<HashMap<String, JoinHandle<()>>>,
}

impl Work {
    pub(crate) fn new(me: Incarnation, db: Arc<Db>, bus: Arc<Bus>, closing: watch::Receiver<bool>) -> Self {
        Self { me, db, bus, closing, running: Mutex::default() }
    }

    /// A new stream, worked on by this pod.
    pub(crate) async fn start(
        self: &Arc<Self>,
        user: i64,
        chunks: i32,
        interval_ms: i32,
    ) -> Result<Job, WorkError> {
        let mut running = self.running.lock().await;
        if self.is_closing() {
            return Err(WorkError::Closing);
        }
        let rows = self
            .db
            .query(
                "INSERT INTO streams (user_id, chunks, interval_ms, owner) VALUES ($1, $2, $3, $4)
                 RETURNING id, chunks, interval_ms, epoch, owner",
                &[&user, &chunks, &interval_ms, &self.me.as_str()],
            )
            .await?;
        let job = Job::from(&rows[0]);
        say!("stream {} begins: {} chunks", job.id, job.chunks);
        running.insert(job.id.clone(), self.spawn(job.clone()));
        Ok(job)
    }

    /// Takes over what nobody works on, until the pod closes.
    pub(crate) async fn look_for_orphans(self: Arc<Self>) {
        while !self.pause(LOOK_EVERY).await {
            if let Err(error) = self.adopt_orphans().await {
                say!("cannot look for orphans: {}", chain(&error));
            }
        }
    }

    /// Stops between two chunks and lets go of every stream: the others need not wait for a heartbeat to vanish.
    /// Only to be called once the pod is closing.
    pub(crate) async fn release(&self) -> Result<(), WorkError> {
        let mut running = self.running.lock().await;
        for (_, task) in running.drain() {
            // A task that panicked holds nothing either.
            let _ = task.await;
        }
        let released = self
            .db
            .query(
                "UPDATE streams SET owner = NULL WHERE owner = $1 AND NOT done RETURNING id",
                &[&self.me.as_str()],
            )
            .await?;
        for row in released {
            say!("stream {} handed over", row.get::<_, &str>(0));
        }
        Ok(())
    }

    async fn adopt_orphans(self: &Arc<Self>) -> Result<(), WorkError> {
        let mut running = self.running.lock().await;
        running.retain(|_, task| !task.is_finished());
        let unfinished = self
            .db
            .query("SELECT id, chunks, interval_ms, epoch, owner FROM streams WHERE NOT done", &[])
            .await?;
        for row in unfinished {
            let job = Job::from(&row);
            let owner = row.get::<_, Option<String>>(4).map(Incarnation::parse);
            let orphan = match &owner {
                None => true,
                Some(owner) if *owner == self.me => !running.contains_key(&job.id),
                Some(owner) => !heartbeat::is_alive(&self.bus, owner).await?,
            };
            if !orphan || self.is_closing() {
                continue;
            }
            // Of all pods that come this far, the epoch lets one through.
            let won = self
                .db
                .query_opt(
                    "UPDATE streams SET owner = $1, epoch = epoch + 1 WHERE id = $2 AND epoch = $3 AND NOT done
                     RETURNING id, chunks, interval_ms, epoch, owner",
                    &[&self.me.as_str(), &job.id, &job.epoch],
                )
                .await?;
            if let Some(row) = won {
                let job = Job::from(&row);
                let from = owner.as_ref().map_or("a pod that shut down", Incarnation::pod);
                say!("stream {} taken over from {from}, epoch {}", job.id, job.epoch);
                running.insert(job.id.clone(), self.spawn(job));
            }
        }
        Ok(())
    }

    fn spawn(self: &Arc<Self>, job: Job) -> JoinHandle<()> {
        let work = Arc::clone(self);
        tokio::spawn(async move {
            match work.send(&job).await {
                End::Done => work.finish(&job).await,
                End::Fenced => say!("stream {} has another owner by now", job.id),
                End::Released => {}
            }
        })
    }

    /// Appends record after record until there is nothing left to do here.
    async fn send(&self, job: &Job) -> End {
        // `None`: not known, and to be read from the bus.
        let mut last: Option<Option<Placed>> = None;
        loop {
            let result = match last.take() {
                None => self.bus.last(&job.id).await.map(Some),
                Some(known) => match job.next(self.me.pod(), known.as_ref()) {
                    Step::Done => return End::Done,
                    Step::Fenced => return End::Fenced,
                    Step::Append { record, after } => {
                        if matches!(record, Record::Chunk { .. }) && self.pause(job.interval).await {
                            return End::Released;
                        }
                        self.bus.append(&job.id, &record, after).await.map(|appended| match appended {
                            Appended::At(sequence) => Some(Some(Placed { sequence, record })),
                            Appended::Contested => None,
                        })
                    }
                },
            };
            match result {
                Ok(known) => last = known,
                Err(error) => {
                    // Whether the record has arrived is open. Reading the last one will tell.
                    say!("stream {}: {}", job.id, chain(&error));
                    if self.pause(RETRY).await {
                        return End::Released;
                    }
                }
            }
        }
    }

    async fn finish(&self, job: &Job) {
        let sql = "UPDATE streams SET done = true WHERE id = $1 AND epoch = $2 RETURNING id";
        match self.db.query(sql, &[&job.id, &job.epoch]).await {
            Ok(_) => say!("stream {} is done", job.id),
            // The next look-round finds it unfinished without anyone at work, and comes here again.
            Err(error) => say!("stream {} is done, but: {}", job.id, chain(&error)),
        }
    }

    fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// Waits, and says whether the pod is closing.
    async fn pause(&self, time: Duration) -> bool {
        let mut closing = self.closing.clone();
        tokio::select! {
            biased;
            _ = closing.wait_for(|closing| *closing) => true,
            () = tokio::time::sleep(time) => false,
        }
    }
}
