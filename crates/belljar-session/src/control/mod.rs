//! The control protocol's server: HTTP/1.1 over the session's own unix socket, for the user who owns it.

mod exec;
mod routes;
mod streams;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;
use belljar_client::wire::{ErrorBody, ErrorView, PROTOCOL_HEADER, ProtocolVersion};
use belljar_model::ErrorCode;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::driver::Handle;
use crate::editor::Editor;
use crate::logs::Logs;
use crate::native::Shared;

pub(crate) use routes::ROUTES;

/// What the routes need of their session.
#[derive(Clone)]
pub(crate) struct Control {
    pub(crate) handle: Handle,
    pub(crate) shared: Arc<Shared>,
    pub(crate) editor: Arc<Editor>,
    pub(crate) events: PathBuf,
    pub(crate) events_written: watch::Receiver<u64>,
    pub(crate) logs: Arc<Logs>,
}

/// Listens, and serves until the session has ended and its last answers are out.
pub(crate) fn serve(
    socket: &Path,
    control: Control,
    last_answer: watch::Sender<bool>,
) -> std::io::Result<JoinHandle<()>> {
    let listener = UnixListener::bind(socket)?;
    fs_err::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    let ended = control.handle.clone();
    let router: Router = routes::router(control)
        .layer(axum::middleware::from_fn_with_state(rustix::process::geteuid().as_raw(), only_the_owner))
        .layer(axum::middleware::map_response(say_version));
    let service = router.into_make_service_with_connect_info::<Peer>();
    Ok(tokio::spawn(async move {
        let until = async move {
            ended.ended().await;
        };
        // It ends with its session; there is nobody to tell when its listener breaks before.
        let _ = axum::serve(listener, service).with_graceful_shutdown(until).await;
        last_answer.send_replace(true);
    }))
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
struct Peer {
    uid: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self { uid: stream.io().peer_cred().ok().map(|peer| peer.uid()) }
    }
}

/// Every answer says which protocol this session speaks, so that another version of belljar knows whom it has met.
async fn say_version(mut response: Response) -> Response {
    let version = HeaderValue::try_from(ProtocolVersion::CURRENT.to_string());
    response.headers_mut().insert(PROTOCOL_HEADER, version.expect("digits and a point"));
    response
}

async fn only_the_owner(
    State(owner): State<u32>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    if peer.uid == Some(owner) {
        return next.run(request).await;
    }
    Refusal(ErrorView {
        code: ErrorCode::SessionNotOwned,
        message: "this session belongs to another user".to_owned(),
        hints: Vec::new(),
    })
    .into_response()
}

/// An error as an answer.
pub(crate) struct Refusal(pub(crate) ErrorView);

impl Refusal {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(ErrorView { code, message: message.into(), hints: Vec::new() })
    }

    pub(crate) fn malformed(error: impl std::fmt::Display) -> Self {
        Self::new(ErrorCode::InvalidRequest, error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self.0.code {
            ErrorCode::ReplicaNotFound | ErrorCode::SessionNotFound | ErrorCode::CommandNotFound => {
                StatusCode::NOT_FOUND
            }
            ErrorCode::InvalidRequest | ErrorCode::CommandNotExecutable => StatusCode::BAD_REQUEST,
            ErrorCode::SessionNotOwned => StatusCode::FORBIDDEN,
            ErrorCode::WaitTimedOut | ErrorCode::NotDrained | ErrorCode::NeverStarted => {
                StatusCode::REQUEST_TIMEOUT
            }
            ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::CONFLICT,
        };
        (status, axum::Json(ErrorBody { error: self.0 })).into_response()
    }
}
