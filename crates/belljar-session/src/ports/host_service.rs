//! A service of the host under a name in the session. It has a network of its own there, as a replica has, in which
//! nothing listens but this one port.
//!
//! While nobody answers at the host's end, nobody listens inside either, so that the kernel refuses connections as
//! it does where no server is. The host's end is tried now and then meanwhile, which nobody is there to notice.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use belljar_sandbox::spec::{Place, SocketSpec};
use belljar_stack::plan::{HostPort, HostServicePlan};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::gate::connections;
use super::relay::{is_of_the_peer, relay, reset};
use crate::driver::Handle;
use crate::native::Connection;

/// The start of a session waits this long to learn whether the host's end is there.
const FIRST_TRY: Duration = Duration::from_millis(500);
/// A connection to the host's end that takes longer counts as refused.
const CONNECTS_WITHIN: Duration = Duration::from_secs(5);
/// How often it is tried whether the host's end is there again.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

/// One service of the host, and where it is shown.
pub(crate) struct HostService {
    plan: HostServicePlan,
    /// Its address inside.
    address: Ipv4Addr,
    place: Place,
    connection: Arc<Connection>,
    listener: Option<TcpListener>,
}

impl HostService {
    /// Makes it reachable, if the host's end is there. `index` is its own among those of the plan.
    pub(crate) async fn open(
        plan: HostServicePlan,
        address: Ipv4Addr,
        index: u16,
        connection: &Arc<Connection>,
    ) -> io::Result<Self> {
        let place = Place::HostService(index);
        let mut service = Self { plan, address, place, connection: Arc::clone(connection), listener: None };
        if let Ok(Ok(_)) = timeout(FIRST_TRY, reach(&service.plan.target)).await {
            service.listener = Some(service.listen().await?);
        }
        Ok(service)
    }

    /// Until the session has ended.
    pub(crate) async fn serve(self, handle: Handle) {
        tokio::select! {
            () = self.carry() => {}
            _ = handle.ended() => {}
        }
    }

    async fn listen(&self) -> io::Result<TcpListener> {
        let spec = SocketSpec::TcpListening(self.place, self.address, self.plan.port);
        let socket = self.connection.socket(spec).await.map_err(io::Error::other)?;
        TcpListener::from_std(std::net::TcpListener::from(socket))
    }

    async fn carry(mut self) {
        let mut connections = JoinSet::new();
        loop {
            if let Some(listener) = self.listener.take() {
                self.accept(listener, &mut connections).await;
            }
            self.until_it_is_there().await;
            match self.listen().await {
                Ok(listener) => self.listener = Some(listener),
                // Too many descriptors, for the moment.
                Err(_) => sleep(LONGEST_PAUSE).await,
            }
        }
    }

    /// Carries connections until one finds nobody at the host's end.
    async fn accept(&self, listener: TcpListener, running: &mut JoinSet<Found>) {
        let mut pause = FIRST_PAUSE;
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        pause = FIRST_PAUSE;
                        let permit = Arc::clone(connections()).acquire_owned().await;
                        let target = self.plan.target.clone();
                        running.spawn(async move {
                            let _permit = permit;
                            carry(stream, &target).await
                        });
                    }
                    Err(error) if is_of_the_peer(&error) => {}
                    Err(_) => {
                        sleep(pause).await;
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                },
                Some(found) = running.join_next() => {
                    if matches!(found, Ok(Found::Nobody)) {
                        return;
                    }
                }
            }
        }
    }

    async fn until_it_is_there(&self) {
        let mut pause = FIRST_PAUSE;
        while !matches!(timeout(CONNECTS_WITHIN, reach(&self.plan.target)).await, Ok(Ok(_))) {
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// What a connection found at the host's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Somebody,
    Nobody,
}

async fn carry(stream: TcpStream, target: &HostPort) -> Found {
    let _ = stream.set_nodelay(true);
    if let Ok(Ok(outer)) = timeout(CONNECTS_WITHIN, reach(target)).await {
        let _ = outer.set_nodelay(true);
        relay(stream, outer).await;
        return Found::Somebody;
    }
    reset(stream);
    Found::Nobody
}

/// Connects as any program of the host does, names included.
async fn reach(target: &HostPort) -> io::Result<TcpStream> {
    TcpStream::connect((target.host.as_str(), target.port)).await
}
