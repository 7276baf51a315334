//! A pod's life: connect, answer, and leave in order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::auth::Auth;
use crate::bus::Bus;
use crate::db::Db;
use crate::heartbeat::{self, Incarnation, Watched};
use crate::http;
use crate::log::{chain, say};
use crate::work::Work;

/// How long leaving in order may take before the pod just goes.
const FAREWELL: Duration = Duration::from_millis(1500);

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) listen: SocketAddr,
    pub(crate) database_url: String,
    pub(crate) nats_url: String,
    pub(crate) pod_name: String,
}

/// What every route can reach.
#[derive(Debug)]
pub(crate) struct Pod {
    pub(crate) db: Arc<Db>,
    pub(crate) bus: Arc<Bus>,
    pub(crate) auth: Arc<Auth>,
    pub(crate) work: Arc<Work>,
    pub(crate) watched: Arc<Watched>,
    /// True from SIGTERM on.
    pub(crate) closing: watch::Receiver<bool>,
}

impl Pod {
    pub(crate) fn name(&self) -> &str {
        self.work.me.pod()
    }
}

/// Runs a pod until SIGTERM or SIGINT.
pub(crate) async fn run(options: Options) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let told_to_leave = leaving()?;
    let born = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let me = Incarnation::new(&options.pod_name, born.as_micros());
    let (close, closing) = watch::channel(false);

    let db = Arc::new(Db::new(options.database_url));
    db.ping().await?;
    let bus = Arc::new(Bus::connect(&options.nats_url, me.pod()).await?);
    let auth = Arc::new(Auth::new(Arc::clone(&db), Arc::clone(&bus)));
    let work = Arc::new(Work::new(me.clone(), Arc::clone(&db), Arc::clone(&bus), closing.clone()));

    tokio::spawn(Arc::clone(&auth).hear_revocations());
    heartbeat::write(&bus, &me).await?;
    let heartbeat = tokio::spawn(heartbeat::keep_beating(Arc::clone(&bus), me.clone()));
    tokio::spawn(Arc::clone(&work).look_for_orphans());
    let watched = Arc::new(Watched::default());
    tokio::spawn(Arc::clone(&watched).watch(Arc::clone(&bus)));

    let pod =
        Pod { db, bus: Arc::clone(&bus), auth, work: Arc::clone(&work), watched, closing: closing.clone() };
    let listener = TcpListener::bind(options.listen).await?;
    say!("pod {} listening on {}", me.pod(), listener.local_addr()?);
    let mut until = closing;
    let server = tokio::spawn(
        axum::serve(listener, http::router(Arc::new(pod)))
            .with_graceful_shutdown(async move {
                let _ = until.wait_for(|closing| *closing).await;
            })
            .into_future(),
    );

    told_to_leave.await;
    say!("pod {} leaves", me.pod());
    // From here on nothing new begins, and whoever follows a stream is sent to another pod.
    close.send_replace(true);
    let hand_over = async {
        if let Err(error) = work.release().await {
            say!("cannot hand over: {}", chain(&error));
        }
        heartbeat.abort();
        if let Err(error) = heartbeat::erase(&bus, &me).await {
            say!("{}", chain(&error));
        }
    };
    let (handed_over, served) = tokio::join!(timeout(FAREWELL, hand_over), timeout(FAREWELL, server));
    if handed_over.is_err() || served.is_err() {
        say!("pod {} leaves without waiting any longer", me.pod());
    }
    say!("pod {} has left", me.pod());
    Ok(())
}

/// Resolves when the pod is told to go. The signals are caught from the call on, not from the first poll.
fn leaving() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
