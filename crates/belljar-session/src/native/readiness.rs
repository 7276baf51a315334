//! Noticing that a replica is ready, within about a millisecond.
//!
//! A port is looked up in the replica's own network by `sock_diag` in half-millisecond steps, which costs a
//! microsecond and disturbs nobody. (Connecting again and again to a port that nobody listens on can connect to
//! *itself*.) Only when somebody listens does one probe of the protocol itself follow.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use belljar_sandbox::spec::{PathCheck, Place, SocketSpec};
use belljar_sandbox::{is_listening, listener};
use belljar_stack::plan::{Check, ReadyPlan};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::connection::{Connection, all_of, place};
use super::pace::Pace;

const FIRST_STEP: Duration = Duration::from_micros(500);
const LONGEST_STEP: Duration = Duration::from_millis(4);
/// One probe that takes longer than this counts as failed and is made again.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// A service that is ready when it has been started must live on for this long: one that fails at once was
/// never ready. Its end is reported by itself and ends the watch.
const LIVES_ON: Duration = Duration::from_millis(10);
/// How often a check that held is looked at again while it must be `stable`.
const STABLE_STEP: Duration = Duration::from_millis(20);

/// What a watch needs to know of the replica.
pub(crate) struct Subject {
    pub(crate) connection: Arc<Connection>,
    pub(crate) index: usize,
    pub(crate) address: Ipv4Addr,
    /// Nobody else can listen where it listens.
    pub(crate) alone: bool,
    /// Ports whose listener was handed to it; nobody else can have those either.
    pub(crate) handed: Vec<u16>,
    /// Who its processes are, as the host knows them.
    pub(crate) uid: u32,
    pub(crate) unit: u64,
    /// A line has matched, or `READY=1` has come.
    pub(crate) told: watch::Receiver<bool>,
    /// Runs a command in the replica's place and says whether it ended with 0, else why not.
    pub(crate) exec: Box<dyn Fn(Vec<String>) -> ExecFuture + Send + Sync>,
}

pub(crate) type ExecFuture = std::pin::Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Why a replica did not become ready.
#[derive(Debug)]
pub(crate) enum NotReady {
    /// The check did not hold in its time, or could not be made.
    Broken(String),
    /// Somebody else listens on this port of it.
    Foreign(u16),
}

impl From<String> for NotReady {
    fn from(why: String) -> Self {
        Self::Broken(why)
    }
}

/// Waits until the check holds (and stays so for `stable`). The error is why it did not hold in its time.
pub(crate) async fn watch(subject: &Subject, plan: &ReadyPlan) -> Result<(), NotReady> {
    let why = Mutex::new(String::from("the check has not been made yet"));
    let stable = if plan.check == Check::Started { plan.stable.max(LIVES_ON) } else { plan.stable };
    let result = timeout(plan.within, async {
        let mut probe = Probe::new(subject, &plan.check).await?;
        loop {
            probe.until_it_holds(&why).await?;
            if probe.stays(stable, &why).await? {
                return Ok(());
            }
        }
    })
    .await;
    match result {
        Ok(Ok(())) => Ok(()),
        Ok(Err(broken)) => Err(broken),
        Err(_) => {
            let why = why.into_inner().unwrap_or_default();
            let hint = loopback_hint(subject, &plan.check).await;
            let why = format!("after {} {why}{hint}", belljar_model::duration::short(plan.within));
            Err(NotReady::Broken(why))
        }
    }
}

struct Probe<'a> {
    subject: &'a Subject,
    check: &'a Check,
    http: Option<HttpCheck>,
    diag: Option<OwnedFd>,
    pace: Pace,
}

#[derive(Clone)]
struct HttpCheck {
    address: SocketAddrV4,
    path: String,
    status: Option<u16>,
    body: Option<regex::Regex>,
}

impl<'a> Probe<'a> {
    async fn new(subject: &'a Subject, check: &'a Check) -> Result<Self, String> {
        let needs_ports = matches!(check, Check::Tcp { .. } | Check::Http { .. });
        let diag = if needs_ports {
            let spec = SocketSpec::SockDiag(place(subject.index));
            Some(subject.connection.socket(spec).await.map_err(|error| error.to_string())?)
        } else {
            None
        };
        let http = match check {
            Check::Http { port, path, status, body } => Some(HttpCheck {
                address: SocketAddrV4::new(subject.address, *port),
                path: path.clone(),
                status: *status,
                body: body
                    .as_deref()
                    .map(regex::Regex::new)
                    .transpose()
                    .map_err(|error| error.to_string())?,
            }),
            _ => None,
        };
        let pace = Pace::new(FIRST_STEP, LONGEST_STEP).map_err(|error| error.to_string())?;
        Ok(Self { subject, check, http, diag, pace })
    }

    /// Waits, and keeps the reason why it does not hold yet in `why`.
    async fn until_it_holds(&mut self, why: &Mutex<String>) -> Result<(), NotReady> {
        let mut told = self.subject.told.clone();
        if matches!(self.check, Check::Log { .. } | Check::Notify) && !*told.borrow() {
            *why.lock().expect("no panic while it is held") = self.told_nothing();
            // An error means that the output ended; then the exit is what is told.
            if told.wait_for(|told| *told).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
        let mut pause = Duration::from_millis(1);
        loop {
            match self.holds().await {
                Ok(()) => return Ok(()),
                Err(NotYet::Cheap(reason)) => {
                    *why.lock().expect("no panic while it is held") = reason;
                    self.pace.step().await.map_err(|error| error.to_string())?;
                }
                Err(NotYet::Foreign(port)) => return Err(NotReady::Foreign(port)),
                Err(NotYet::Costly(reason)) => {
                    *why.lock().expect("no panic while it is held") = reason;
                    sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_millis(100));
                }
            }
        }
    }

    async fn stays(&mut self, stable: Duration, why: &Mutex<String>) -> Result<bool, NotReady> {
        let until = Instant::now() + stable;
        while Instant::now() < until {
            sleep(STABLE_STEP.min(until - Instant::now())).await;
            let reason = match self.holds().await {
                Ok(()) => continue,
                Err(NotYet::Foreign(port)) => return Err(NotReady::Foreign(port)),
                Err(NotYet::Cheap(reason) | NotYet::Costly(reason)) => reason,
            };
            *why.lock().expect("no panic while it is held") = format!("it did not stay ready: {reason}");
            return Ok(false);
        }
        Ok(true)
    }

    fn told_nothing(&self) -> String {
        match self.check {
            Check::Log { pattern } => format!("no line of its log matched /{pattern}/"),
            _ => "it has not sent READY=1".to_owned(),
        }
    }

    async fn holds(&self) -> Result<(), NotYet> {
        match self.check {
            Check::Started | Check::Log { .. } | Check::Notify => Ok(()),
            Check::Tcp { ports } => {
                for &port in ports {
                    self.listens(port).await?;
                }
                for &port in ports {
                    self.connects(port).await.map_err(NotYet::Costly)?;
                }
                Ok(())
            }
            Check::Http { port, .. } => {
                self.listens(*port).await?;
                let http = self.http.as_ref().ok_or(NotYet::Cheap(String::new()))?;
                match timeout(PROBE_TIMEOUT, self.http_answers(http)).await {
                    Ok(result) => result.map_err(NotYet::Costly),
                    Err(_) => Err(NotYet::Costly(format!("GET {} was not answered", http.path))),
                }
            }
            Check::Exec { argv } => (self.subject.exec)(argv.clone()).await.map_err(NotYet::Costly),
            Check::File { path } => self.path(PathCheck::Exists(path.clone()), path, "does not exist").await,
            Check::Socket { path } => {
                self.path(PathCheck::Connects(path.clone()), path, "takes no connections").await
            }
        }
    }

    async fn listens(&self, port: u16) -> Result<(), NotYet> {
        let diag = self.diag.as_ref().ok_or(NotYet::Cheap(String::new()))?;
        match listener(diag.as_fd(), self.subject.address, port) {
            Ok(Some(_)) if self.subject.alone || self.subject.handed.contains(&port) => Ok(()),
            Ok(Some(found)) if found.uid != self.subject.uid => Err(NotYet::Foreign(port)),
            Ok(Some(found)) => {
                let all = all_of(self.subject.index);
                match self.subject.connection.has_socket(all, found.inode).await {
                    Ok(true) => Ok(()),
                    Ok(false) => Err(NotYet::Foreign(port)),
                    Err(error) => Err(NotYet::Costly(error.to_string())),
                }
            }
            Ok(None) => Err(NotYet::Cheap(format!("nothing listens on {}:{port}", self.subject.address))),
            Err(error) => Err(NotYet::Costly(error.to_string())),
        }
    }

    async fn connects(&self, port: u16) -> Result<TcpStream, String> {
        let address = SocketAddrV4::new(self.subject.address, port);
        let spec = SocketSpec::Tcp(Place::Session);
        let socket = self.subject.connection.socket(spec).await.map_err(|error| error.to_string())?;
        let socket = TcpSocket::from_std_stream(std::net::TcpStream::from(socket));
        match timeout(PROBE_TIMEOUT, socket.connect(address.into())).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(format!("cannot connect to {address}: {error}")),
            Err(_) => Err(format!("cannot connect to {address}: no answer")),
        }
    }

    async fn http_answers(&self, check: &HttpCheck) -> Result<(), String> {
        let stream = self.connects(check.address.port()).await?;
        let said = |error: hyper::Error| format!("GET {} broke off: {error}", check.path);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(said)?;
        let driver = tokio::spawn(connection);
        let request = hyper::Request::get(&check.path)
            .header(hyper::header::HOST, check.address.to_string())
            .header(hyper::header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(|error| error.to_string())?;
        let response = sender.send_request(request).await.map_err(said)?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(said)?.to_bytes();
        driver.abort();
        let wanted = match check.status {
            Some(wanted) => status.as_u16() == wanted,
            None => status.is_success(),
        };
        if !wanted {
            return Err(format!("GET {} answered {}{}", check.path, status.as_u16(), excerpt(&body)));
        }
        match &check.body {
            Some(pattern) if !pattern.is_match(&String::from_utf8_lossy(&body)) => Err(format!(
                "GET {} answered {} with a body that does not match",
                check.path,
                status.as_u16()
            )),
            _ => Ok(()),
        }
    }

    async fn path(&self, check: PathCheck, path: &Path, lack: &str) -> Result<(), NotYet> {
        match self.subject.connection.check(self.subject.unit, check).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(NotYet::Cheap(format!("{} {lack}", path.display()))),
            Err(error) => Err(NotYet::Costly(error.to_string())),
        }
    }
}

/// Why a check does not hold yet, and whether looking again costs next to nothing.
enum NotYet {
    Cheap(String),
    Costly(String),
    /// Somebody else listens on this port.
    Foreign(u16),
}

/// The first line of an answer's body, for the message.
fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(200)]);
    match text.lines().next() {
        Some(line) if !line.trim().is_empty() => format!(": {}", line.trim()),
        _ => String::new(),
    }
}

/// A service that listens on 127.0.0.1 alone is the commonest mistake: say so.
async fn loopback_hint(subject: &Subject, check: &Check) -> String {
    let ports = match check {
        Check::Tcp { ports } => ports.clone(),
        Check::Http { port, .. } => vec![*port],
        _ => return String::new(),
    };
    let Ok(diag) = subject.connection.socket(SocketSpec::SockDiag(place(subject.index))).await else {
        return String::new();
    };
    let mut hint = String::new();
    for port in ports {
        let listens = |address| is_listening(diag.as_fd(), address, port).unwrap_or(false);
        if !listens(subject.address) && listens(Ipv4Addr::LOCALHOST) {
            hint = format!("; it listens on 127.0.0.1:{port} only: let it listen on 0.0.0.0");
        }
    }
    hint
}
