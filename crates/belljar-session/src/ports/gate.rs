//! A published port at work: who comes in is carried to a replica, or told that nobody is there.

use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use belljar_model::{ErrorCode, ReplicaName};
use belljar_stack::plan::{Protocol, PublishPlan, ServicePlan};
use rustix::process::{Resource, getrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::bind::Bound;
use super::datagrams;
use super::door::{Door, Shut};
use super::refusal::Refusal;
use super::relay::{is_of_the_peer, relay, reset};
use super::turn::{Turn, is_down};
use super::{PublishedPort, Standing};
use crate::driver::Handle;
use crate::machine::Input;

/// After accepting failed, for want of descriptors or memory, it is tried again after this, and twice as long each
/// time.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The timeline is told of too much at most this often, for each port.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// A replica that was ready and refuses a connection has most likely just died, which is known a moment later.
const KNOWN_WITHIN: Duration = Duration::from_millis(100);
/// What a session needs of descriptors by itself, and then some, is not for connections.
const DESCRIPTORS_BESIDES: u64 = 64;
/// Each connection takes two descriptors; half of those that the process may have stay for all else.
const DESCRIPTORS_FOR_EACH: u64 = 4;
const MOST_CONNECTIONS: u64 = 1 << 16;

/// One port of the host, bound, with where it leads to.
#[derive(Debug)]
pub(crate) struct Gate {
    shown: PublishedPort,
    /// It speaks HTTP, so that whoever asks can be told in HTTP that nobody is there.
    http: bool,
    turn: Turn,
    sockets: Vec<OwnedFd>,
}

/// All gates of a session. They are closed when this is dropped.
#[derive(Debug)]
pub(crate) struct Gates {
    _tasks: JoinSet<()>,
}

/// What a gate needs of its session while it is open.
pub(super) struct Open {
    pub(super) shown: PublishedPort,
    http: bool,
    turn: Turn,
    standings: watch::Receiver<Arc<[Standing]>>,
    pub(super) door: Door,
    handle: Handle,
    told: Mutex<Option<Instant>>,
}

impl Gate {
    pub(super) fn new(
        service: &ServicePlan,
        replica: Option<&ReplicaName>,
        publish: &PublishPlan,
        bound: Bound,
    ) -> Self {
        let Bound { number, addresses, sockets } = bound;
        Self {
            shown: PublishedPort {
                service: service.name.clone(),
                replica: replica.cloned(),
                port: publish.port.name.clone(),
                protocol: publish.port.protocol,
                number,
                addresses,
            },
            http: service.url_of(&publish.port).is_some_and(|url| url.starts_with("http:")),
            turn: Turn::default(),
            sockets,
        }
    }

    pub(crate) fn shown(&self) -> &PublishedPort {
        &self.shown
    }
}

impl Gates {
    /// Opens them, until the session has ended or this is dropped.
    pub(crate) fn open(gates: Vec<Gate>, door: &Door, handle: &Handle) -> Self {
        let mut tasks = JoinSet::new();
        for gate in gates {
            let Gate { shown, http, turn, sockets } = gate;
            let open = Arc::new(Open {
                shown,
                http,
                turn,
                standings: handle.standings(),
                door: door.clone(),
                handle: handle.clone(),
                told: Mutex::default(),
            });
            for socket in sockets {
                let (open, ended) = (Arc::clone(&open), handle.clone());
                tasks.spawn(async move {
                    tokio::select! {
                        () = open.serve(socket) => {}
                        _ = ended.ended() => {}
                    }
                });
            }
        }
        Self { _tasks: tasks }
    }
}

impl Open {
    async fn serve(self: Arc<Self>, socket: OwnedFd) {
        match self.shown.protocol {
            Protocol::Tcp => {
                // It was made to be waited on; it cannot fail but for want of memory.
                let Ok(listener) = TcpListener::from_std(std::net::TcpListener::from(socket)) else { return };
                self.accept(listener).await;
            }
            Protocol::Udp => {
                let Ok(socket) = tokio::net::UdpSocket::from_std(std::net::UdpSocket::from(socket)) else {
                    return;
                };
                datagrams::serve(self, socket).await;
            }
        }
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let mut connections = JoinSet::new();
        let mut pause = FIRST_PAUSE;
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        pause = FIRST_PAUSE;
                        let permit = self.permit().await;
                        connections.spawn(Arc::clone(&self).carry(stream, permit));
                    }
                    Err(error) if is_of_the_peer(&error) => {}
                    Err(error) => {
                        self.overloaded(&error.to_string());
                        sleep(pause).await;
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }

    /// Waits until there may be one connection more. Those that come meanwhile wait with the kernel.
    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        let all = connections();
        if let Ok(permit) = Arc::clone(all).try_acquire_owned() {
            return Some(permit);
        }
        self.overloaded("as many connections are open as this process can have");
        Arc::clone(all).acquire_owned().await.ok()
    }

    async fn carry(self: Arc<Self>, stream: TcpStream, _permit: Option<OwnedSemaphorePermit>) {
        let _ = stream.set_nodelay(true);
        let candidates = match self.candidates() {
            Ok(candidates) => candidates,
            Err(Some(replica)) => return self.refuse(stream, replica, ErrorCode::ReplicaNotRunning).await,
            // Not even its service is there any more.
            Err(None) => return reset(stream),
        };
        let mut refused = None;
        for replica in candidates {
            let Some(address) = self.address(&replica) else { continue };
            match self.door.tcp(address).await {
                Ok(inner) => return relay(stream, inner).await,
                Err(Shut::NoConnection(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    refused.get_or_insert(replica);
                }
                Err(Shut::NoSocket(error)) => {
                    self.overloaded(&error.to_string());
                    break;
                }
                // Silence and the like: this is how it is for others in the session too.
                Err(Shut::NoConnection(_)) => break,
            }
        }
        let Some(replica) = refused else { return reset(stream) };
        let mut standings = self.standings.clone();
        let died = standings
            .wait_for(|all| all.iter().all(|one| one.replica != replica.replica || is_down(one.state)));
        let code = match timeout(KNOWN_WITHIN, died).await {
            Ok(Ok(_)) => ErrorCode::ReplicaNotRunning,
            _ => ErrorCode::ReplicaNotListening,
        };
        self.refuse(stream, replica, code).await;
    }

    /// Who is to be asked, best first; nobody, and whose turn it would have been.
    pub(super) fn candidates(&self) -> Result<Vec<Standing>, Option<Standing>> {
        let PublishedPort { service, replica, .. } = &self.shown;
        let is_meant = |one: &&Standing| {
            one.service == *service && replica.as_ref().is_none_or(|replica| *replica == one.replica)
        };
        let replicas = self.standings.borrow().iter().filter(is_meant).cloned().collect();
        self.turn.candidates(replicas)
    }

    pub(super) fn is_down(&self, replica: &ReplicaName) -> bool {
        self.standing(replica).is_none_or(|one| is_down(one.state))
    }

    fn standing(&self, replica: &ReplicaName) -> Option<Standing> {
        self.standings.borrow().iter().find(|one| one.replica == *replica).cloned()
    }

    pub(super) fn address(&self, replica: &Standing) -> Option<SocketAddrV4> {
        replica.address_of(&self.shown.port)
    }

    async fn refuse(&self, stream: TcpStream, replica: Standing, code: ErrorCode) {
        if !self.http {
            return reset(stream);
        }
        // As it stands by now.
        let standing = self.standing(&replica.replica).unwrap_or(replica);
        Refusal { code, standing }.answer(stream).await;
    }

    /// Says so in the timeline, once in a while.
    pub(super) fn overloaded(&self, why: &str) {
        let mut told = self.told.lock().expect("no panic while it is held");
        if told.is_some_and(|told| told.elapsed() < TOLD_EVERY) {
            return;
        }
        *told = Some(Instant::now());
        self.handle.tell(Input::PortOverloaded {
            service: self.shown.service.clone(),
            replica: self.shown.replica.clone(),
            port: self.shown.port.clone(),
            why: why.to_owned(),
        });
    }
}

/// How many connections may be carried at once, by all sessions of this process together: it is the process that
/// has a limit of descriptors, and what its sessions need besides must not wait for them.
pub(super) fn connections() -> &'static Arc<Semaphore> {
    static CONNECTIONS: OnceLock<Arc<Semaphore>> = OnceLock::new();
    CONNECTIONS.get_or_init(|| {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let most = descriptors.saturating_sub(DESCRIPTORS_BESIDES) / DESCRIPTORS_FOR_EACH;
        let most = most.clamp(4, MOST_CONNECTIONS);
        Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(Semaphore::MAX_PERMITS)))
    })
}
