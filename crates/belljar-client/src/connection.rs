//! One connection: a request, and the answer as it comes.

use std::io;
use std::path::Path;

use http::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use crate::error::ClientError;
use crate::wire::{EXEC_UPGRADE, ErrorBody, PROTOCOL_HEADER, ProtocolVersion};

/// The most of an error's body that is read.
const MAX_ERROR_BODY: usize = 1 << 20;

/// Sends a request and waits for the head of its answer. An answer that is no success is an error already.
pub(crate) async fn request<B: Serialize>(
    socket: &Path,
    method: Method,
    path: &str,
    body: Option<&B>,
) -> Result<Answer, ClientError> {
    let (response, connection) = send(socket, head(method, path), body).await?;
    let theirs = spoken(&response);
    let answer = Answer { body: response.into_body(), theirs, _connection: connection };
    Ok(answer)
}

/// Asks for the connection itself, for frames both ways.
pub(crate) async fn upgrade<B: Serialize>(
    socket: &Path,
    path: &str,
    body: &B,
) -> Result<TokioIo<Upgraded>, ClientError> {
    let head = head(Method::POST, path).header(CONNECTION, "upgrade").header(UPGRADE, EXEC_UPGRADE);
    let (response, connection) = send(socket, head, Some(body)).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(ClientError::protocol(format!("status {} where 101 was due", response.status())));
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(ClientError::transport)?;
    // The connection's task ends by handing the stream over, so nothing is left to abort.
    drop(connection);
    Ok(TokioIo::new(upgraded))
}

/// The body of a successful answer.
#[derive(Debug)]
pub(crate) struct Answer {
    body: Incoming,
    theirs: ProtocolVersion,
    /// Dropped with the answer, and the connection with it: who stops reading stops the session's work for it.
    _connection: Connection,
}

impl Answer {
    /// All of it, as one JSON document.
    pub(crate) async fn json<T: DeserializeOwned>(self) -> Result<T, ClientError> {
        let bytes = self.body.collect().await.map_err(ClientError::transport)?.to_bytes();
        serde_json::from_slice(&bytes)
            .map_err(|e| ClientError::unreadable("its body is not what was due", e).met(self.theirs))
    }

    /// All of it, which says nothing but that it is done.
    pub(crate) async fn done(self) -> Result<(), ClientError> {
        self.body.collect().await.map_err(ClientError::transport)?;
        Ok(())
    }

    /// The next piece; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame.map_err(ClientError::transport)?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

/// The task that drives a connection.
#[derive(Debug)]
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn head(method: Method, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path).header(HOST, "belljar").header(ACCEPT, "*/*")
}

async fn send<B: Serialize>(
    socket: &Path,
    head: http::request::Builder,
    body: Option<&B>,
) -> Result<(Response<Incoming>, Connection), ClientError> {
    let request = match body {
        None => head.body(Full::default()),
        Some(body) => {
            let json = serde_json::to_vec(body)
                .map_err(|e| ClientError::unreadable("the request cannot be written", e))?;
            head.header(CONTENT_TYPE, "application/json").body(Full::new(Bytes::from(json)))
        }
    };
    let request = request.map_err(|e| ClientError::unreadable("the request cannot be written", e))?;

    let stream = UnixStream::connect(socket).await.map_err(|source| not_there(socket, source))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(ClientError::transport)?;
    // What goes wrong on the connection is told to the request that waits for it.
    let connection = Connection(tokio::spawn(async move { drop(connection.with_upgrades().await) }));
    let response = sender.send_request(request).await.map_err(ClientError::transport)?;
    let theirs = spoken(&response);
    if theirs.major != ProtocolVersion::CURRENT.major {
        return Err(ClientError::OtherVersion { theirs });
    }
    let status = response.status();
    if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
        Ok((response, connection))
    } else {
        Err(refusal(status, response.into_body()).await.met(theirs))
    }
}

/// The protocol of whoever answers.
fn spoken(response: &Response<Incoming>) -> ProtocolVersion {
    let said = response.headers().get(PROTOCOL_HEADER).and_then(|value| value.to_str().ok());
    said.and_then(ProtocolVersion::parse).unwrap_or(ProtocolVersion::FIRST)
}

/// The error that an answer other than a success carries.
async fn refusal(status: StatusCode, body: Incoming) -> ClientError {
    let body = http_body_util::Limited::new(body, MAX_ERROR_BODY);
    let bytes = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(source) => {
            return ClientError::Protocol {
                what: format!("status {status} without a readable body"),
                source: Some(source),
            };
        }
    };
    match serde_json::from_slice::<ErrorBody>(&bytes) {
        Ok(ErrorBody { error }) => ClientError::Refused(error),
        Err(source) => ClientError::unreadable(format!("status {status} without an error's body"), source),
    }
}

/// A socket that is missing or that nobody accepts at is a session that is no more.
fn not_there(socket: &Path, source: io::Error) -> ClientError {
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ClientError::NotThere { socket: socket.to_owned(), source }
        }
        _ => ClientError::Io(source),
    }
}
