//! The client of one session.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use belljar_model::ServiceName;
use http::Method;

use crate::connection;
use crate::error::ClientError;
use crate::exec::ExecChannel;
use crate::query::{DrainQuery, EventsQuery, LogsQuery, ProbeQuery, WaitQuery};
use crate::stream::{EventStream, LogStream};
use crate::wire::{
    Applied, ApplyRequest, Done, DownRequest, EnvView, ExecRequest, ExpireRequest, ProbesView, ScaleRequest,
    SessionView, Targets, Verb, WaitFor,
};

/// Speaks to one session through its control socket: a connection for each request, so that a long wait is
/// never in the way of anything else.
#[derive(Debug, Clone)]
pub struct Client {
    control_socket: PathBuf,
}

impl Client {
    /// Nothing is connected yet; whether somebody listens shows with the first request.
    pub fn new(control_socket: PathBuf) -> Self {
        Self { control_socket }
    }

    pub fn control_socket(&self) -> &Path {
        &self.control_socket
    }

    /// The session as it is now.
    pub async fn session(&self) -> Result<SessionView, ClientError> {
        self.soon("/v1/session").await
    }

    /// Does something to replicas, and answers when it is true.
    pub async fn act(&self, verb: Verb, targets: &[String]) -> Result<Done, ClientError> {
        let path = format!("/v1/replicas/{}", verb.as_str());
        let body = Targets { targets: targets.to_vec() };
        connection::request(&self.control_socket, Method::POST, &path, Some(&body)).await?.json().await
    }

    /// Waits for the whole session, or for one replica or service of it.
    pub async fn wait(
        &self,
        wait_for: WaitFor,
        replica: Option<&str>,
        within: Duration,
    ) -> Result<SessionView, ClientError> {
        let replica = replica.map(str::to_owned);
        let query = WaitQuery { wait_for, replica, within_ms: whole_ms(within) };
        self.get(&format!("/v1/wait?{}", query.to_query())).await
    }

    /// Waits until nothing is under way: no restart, no task, no exec, no starting replica.
    pub async fn drain(&self, within: Duration) -> Result<(), ClientError> {
        let query = DrainQuery { within: format!("{}ms", whole_ms(within)) };
        let path = format!("/v1/drain?{}", query.to_query());
        connection::request(&self.control_socket, Method::GET, &path, NO_BODY).await?.done().await
    }

    /// Makes the readiness check of a replica, or of each replica of a service, once and now.
    pub async fn probe(&self, replica: &str) -> Result<ProbesView, ClientError> {
        let query = ProbeQuery { replica: replica.to_owned() };
        self.get(&format!("/v1/probe?{}", query.to_query())).await
    }

    /// What commands of the session get on top of the caller's environment.
    pub async fn env(&self) -> Result<EnvView, ClientError> {
        self.soon("/v1/env").await
    }

    /// Ends the session, and answers when everything of it has ended.
    pub async fn down(&self, why: &str) -> Result<(), ClientError> {
        self.end(DownRequest { why: why.to_owned(), in_order: false }).await
    }

    /// The same, with the replicas stopped by their signals first.
    pub async fn down_in_order(&self, why: &str) -> Result<(), ClientError> {
        self.end(DownRequest { why: why.to_owned(), in_order: true }).await
    }

    /// Makes the session what an edition of its stack says, or only says what that would do.
    pub async fn apply(&self, request: &ApplyRequest) -> Result<Applied, ClientError> {
        self.post("/v1/apply", request).await
    }

    /// Gives services other numbers of replicas; answered when all of them are ready or gone.
    pub async fn scale(&self, replicas: BTreeMap<ServiceName, u16>) -> Result<Applied, ClientError> {
        self.post("/v1/scale", &ScaleRequest { replicas }).await
    }

    /// Gives the session so long to live from now on.
    pub async fn expire(&self, within: Duration) -> Result<(), ClientError> {
        let body = ExpireRequest { within_ms: whole_ms(within) };
        let answer =
            connection::request(&self.control_socket, Method::POST, "/v1/expire", Some(&body)).await?;
        answer.done().await
    }

    async fn post<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        body: &impl serde::Serialize,
    ) -> Result<T, ClientError> {
        connection::request(&self.control_socket, Method::POST, path, Some(body)).await?.json().await
    }

    async fn end(&self, body: DownRequest) -> Result<(), ClientError> {
        connection::request(&self.control_socket, Method::POST, "/v1/down", Some(&body)).await?.done().await
    }

    /// The session's events from number `from_seq` on: those that were, and with `follow` those that come.
    pub async fn events(&self, from_seq: u64, follow: bool) -> Result<EventStream, ClientError> {
        let query = EventsQuery { from: from_seq, follow };
        let path = format!("/v1/events?{}", query.to_query());
        let answer = connection::request(&self.control_socket, Method::GET, &path, NO_BODY).await?;
        Ok(EventStream::new(answer))
    }

    /// Lines of the session's logs.
    pub async fn logs(&self, query: &LogsQuery) -> Result<LogStream, ClientError> {
        let path = format!("/v1/logs?{}", query.to_query());
        let answer = connection::request(&self.control_socket, Method::GET, &path, NO_BODY).await?;
        Ok(LogStream::new(answer))
    }

    /// Runs a command in the session, with its input, output and signals passed through the channel.
    pub async fn exec(&self, request: &ExecRequest) -> Result<ExecChannel, ClientError> {
        connection::upgrade(&self.control_socket, "/v1/exec", request).await.map(ExecChannel::new)
    }

    /// An answer that takes no time, or does not come at all: the host process may have been stopped.
    async fn soon<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        match tokio::time::timeout(ANSWERS_WITHIN, self.get(path)).await {
            Ok(answer) => answer,
            Err(_) => Err(ClientError::Silent { socket: self.control_socket.clone() }),
        }
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        connection::request(&self.control_socket, Method::GET, path, NO_BODY).await?.json().await
    }
}

/// How long a session may take to answer what it knows.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// A request without a body, with the type that the compiler asks for.
const NO_BODY: Option<&()> = None;

/// In milliseconds, rounded up: a wait that was asked for is never cut to nothing.
fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
