//! Every replica's metrics in one place, for Prometheus on the host: each port that is called `metrics` is scraped
//! when somebody asks, through sockets in the session, and what it says gets the labels of its replica.

mod exposition;

use std::convert::Infallible;
use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use belljar_client::wire::{ReplicaView, ServiceView, SessionView};
use belljar_model::{ReplicaName, ReplicaState, ServiceName};
use belljar_stack::plan::{Interfaces, Protocol};
use futures_util::future::join_all;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::exposition::Exposition;
use crate::driver::Handle;
use crate::ports::{Bound, Door, PortError, bind};

/// The name of a port that tells metrics.
const PORT: &str = "metrics";
const PATH: &str = "/metrics";
/// Prometheus itself waits for ten seconds; one replica that says nothing must not cost it all the others.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);
const LARGEST: usize = 16 << 20;
const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The endpoint, bound and not served yet.
#[derive(Debug)]
pub(crate) struct Endpoint {
    bound: Bound,
}

/// What is asked, when somebody asks.
struct Scrape {
    door: Door,
    handle: Handle,
}

/// Where one replica tells its metrics.
struct Source {
    service: ServiceName,
    replica: ReplicaName,
    address: SocketAddrV4,
}

impl Endpoint {
    /// Takes a port of the host for it: this one, or any where it is 0.
    pub(crate) fn bind(port: u16) -> Result<Self, PortError> {
        let wish = (port != 0).then_some(port);
        bind(Protocol::Tcp, Interfaces::Loopback, wish, "--metrics").map(|bound| Self { bound })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}{PATH}", self.bound.number)
    }

    /// Serves it until the session has ended.
    pub(crate) async fn serve(self, door: Door, handle: Handle) {
        let ended = handle.clone();
        let router = Router::new().route(PATH, get(tell)).with_state(Arc::new(Scrape { door, handle }));
        let mut servers = JoinSet::new();
        for socket in self.bound.sockets {
            servers.spawn(answer(socket, router.clone()));
        }
        tokio::select! {
            _ = servers.join_all() => {}
            _ = ended.ended() => {}
        }
    }
}

async fn answer(socket: OwnedFd, router: Router) -> std::io::Result<Infallible> {
    let listener = tokio::net::TcpListener::from_std(std::net::TcpListener::from(socket))?;
    axum::serve(listener, router).await?;
    Err(std::io::ErrorKind::UnexpectedEof.into())
}

async fn tell(State(scrape): State<Arc<Scrape>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, FORMAT)], scrape.exposition().await)
}

impl Scrape {
    async fn exposition(&self) -> String {
        let view = self.handle.view().await;
        let mut exposition = Exposition::default();
        own(&mut exposition, &view);
        let sources = Self::sources(&view);
        let answers = join_all(sources.iter().map(|source| async {
            let alive = find(&view, &source.replica).is_some_and(|one| one.state.is_alive());
            if alive {
                timeout(ANSWERS_WITHIN, self.scrape(source.address)).await.ok().flatten()
            } else {
                None
            }
        }));
        for (source, answer) in sources.iter().zip(answers.await) {
            let labels = labels(&view, &source.service, &source.replica);
            let up = answer.is_some_and(|text| exposition.add(&text, &labels).is_ok());
            exposition.own(
                "belljar_up",
                "gauge",
                "Whether the replica's own metrics were told and understood.",
                &labels,
                if up { 1.0 } else { 0.0 },
            );
        }
        exposition.render()
    }

    /// Every replica that has such a port, as the session stands now.
    fn sources(view: &SessionView) -> Vec<Source> {
        let of_service = |(name, service): (&ServiceName, &ServiceView)| {
            let source = |one: &ReplicaView| {
                let address = SocketAddrV4::new(one.host.parse().ok()?, *one.ports.get(PORT)?);
                Some(Source { service: name.clone(), replica: one.name.clone(), address })
            };
            service.replicas.iter().filter_map(source).collect::<Vec<_>>()
        };
        view.services.iter().flat_map(of_service).collect()
    }

    /// What the replica says; nothing, where it does not say it well.
    async fn scrape(&self, address: SocketAddrV4) -> Option<String> {
        let stream = self.door.tcp(address).await.ok()?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let request = hyper::Request::get(PATH)
            .header(header::HOST, address.to_string())
            .header(header::ACCEPT, "text/plain;version=0.0.4")
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .ok()?;
        let response = sender.send_request(request).await.ok()?;
        if !response.status().is_success() {
            return None;
        }
        let body = Limited::new(response.into_body(), LARGEST).collect().await.ok()?.to_bytes();
        String::from_utf8(body.into()).ok()
    }
}

fn find<'a>(view: &'a SessionView, name: &ReplicaName) -> Option<&'a ReplicaView> {
    view.services.values().flat_map(|service| &service.replicas).find(|one| one.name == *name)
}

fn labels(view: &SessionView, service: &ServiceName, replica: &ReplicaName) -> Vec<(&'static str, String)> {
    vec![
        ("service", service.to_string()),
        ("replica", replica.to_string()),
        ("session", view.name.to_string()),
    ]
}

/// What belljar itself knows.
fn own(exposition: &mut Exposition, view: &SessionView) {
    let session = [
        ("session", view.name.to_string()),
        ("id", view.id.to_string()),
        ("stack", view.stack.to_string()),
        ("state", view.state.to_string()),
    ];
    exposition.own("belljar_session_info", "gauge", "The session, with its state.", &session, 1.0);
    for (service, replica) in
        view.services.iter().flat_map(|(name, service)| service.replicas.iter().map(move |one| (name, one)))
    {
        let labels = labels(view, service, &replica.name);
        for state in ReplicaState::ALL {
            let mut labels = labels.clone();
            labels.push(("state", state.to_string()));
            let is_it = if *state == replica.state { 1.0 } else { 0.0 };
            exposition.own("belljar_replica_state", "gauge", "1 for the state it is in.", &labels, is_it);
        }
        let restarts = f64::from(replica.generation.saturating_sub(1));
        let help = "How often it was started again.";
        exposition.own("belljar_replica_restarts_total", "counter", help, &labels, restarts);
        if let Some(ms) = replica.ready_ms {
            let help = "From its last start to its readiness.";
            exposition.own("belljar_replica_ready_seconds", "gauge", help, &labels, ms / 1e3);
        }
    }
}
