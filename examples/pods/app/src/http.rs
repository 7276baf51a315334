//! The routes, and how a refusal looks.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Form, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use thiserror::Error;
use tokio::time::timeout;

use crate::attach;
use crate::auth::{COOKIE, Identity, Issued, Kind};
use crate::bus::BusError;
use crate::db::DbError;
use crate::heartbeat;
use crate::job::Job;
use crate::log::{chain, say};
use crate::serve::Pod;
use crate::work::WorkError;

/// A server that takes longer to answer than this is no server to rely on.
const READY_WITHIN: Duration = Duration::from_millis(500);

pub(crate) fn router(pod: Arc<Pod>) -> Router {
    Router::new()
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/pods", get(pods))
        .route("/sign-up", post(sign_up))
        .route("/sign-out", post(sign_out))
        .route("/me", get(me))
        .route("/api-keys", post(create_api_key))
        .route("/api-keys/{id}", delete(delete_api_key))
        .route("/streams", post(create_stream))
        .route("/streams/{id}", get(follow_stream))
        .with_state(pod)
}

/// Why a request isn't served.
#[derive(Debug, Error)]
pub(crate) enum Refusal {
    #[error("sign in first")]
    SignInFirst,
    #[error("there is no such thing, or it is not yours")]
    NotFound,
    #[error("{0} is taken")]
    Taken(String),
    #[error("{0}")]
    Invalid(&'static str),
    #[error("this pod shuts down")]
    Closing,
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Bus(#[from] BusError),
}

impl From<WorkError> for Refusal {
    fn from(error: WorkError) -> Self {
        match error {
            WorkError::Closing => Self::Closing,
            WorkError::Db(error) => Self::Db(error),
            WorkError::Bus(error) => Self::Bus(error),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::SignInFirst => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Taken(_) => StatusCode::CONFLICT,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Closing | Self::Db(_) | Self::Bus(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let text = chain(&self);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            say!("request refused: {text}");
        }
        (status, Json(json!({ "error": text }))).into_response()
    }
}

/// The process answers, and that is all this says.
async fn live() -> &'static str {
    "live\n"
}

/// Whether requests can be served here and now: both servers are asked, every time.
async fn ready(State(pod): State<Arc<Pod>>) -> Response {
    let (database, bus) =
        tokio::join!(timeout(READY_WITHIN, pod.db.ping()), timeout(READY_WITHIN, pod.bus.ping()));
    let mut failed = Map::new();
    if let Err(error) = database.unwrap_or(Err(DbError::Silent)) {
        failed.insert("database".into(), chain(&error).into());
    }
    if let Err(error) = bus.unwrap_or(Err(BusError::Silent)) {
        failed.insert("bus".into(), chain(&error).into());
    }
    if *pod.closing.borrow() {
        failed.insert("pod".into(), "shuts down".into());
    }
    let status = if failed.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": failed.is_empty(), "failed": failed }))).into_response()
}

async fn pods(State(pod): State<Arc<Pod>>) -> Result<Json<Value>, Refusal> {
    Ok(Json(json!({ "pods": heartbeat::pods(&pod.bus).await?, "watched": pod.watched.pods() })))
}

#[derive(Debug, Deserialize)]
struct SignUp {
    name: String,
}

async fn sign_up(State(pod): State<Arc<Pod>>, Form(form): Form<SignUp>) -> Result<Response, Refusal> {
    if form.name.is_empty() {
        return Err(Refusal::Invalid("a name is missing"));
    }
    let sql = "INSERT INTO users (name) VALUES ($1) ON CONFLICT DO NOTHING RETURNING id";
    let Some(row) = pod.db.query_opt(sql, &[&form.name]).await? else {
        return Err(Refusal::Taken(form.name));
    };
    let session = pod.auth.issue(row.get(0), Kind::Session).await?;
    say!("{} signed up", form.name);
    let cookie = format!("{COOKIE}={}; HttpOnly; Path=/; SameSite=Lax", session.secret);
    Ok(([(header::SET_COOKIE, cookie)], Json(json!({ "user": form.name, "pod": pod.name() })))
        .into_response())
}

async fn sign_out(State(pod): State<Arc<Pod>>, asker: Identity) -> Result<StatusCode, Refusal> {
    if asker.kind != Kind::Session {
        return Err(Refusal::Invalid("an API key has no session to sign out of"));
    }
    pod.auth.revoke(asker.user, asker.credential, Kind::Session).await?;
    say!("{} signed out", asker.name);
    Ok(StatusCode::NO_CONTENT)
}

async fn me(State(pod): State<Arc<Pod>>, asker: Identity) -> Json<Value> {
    Json(json!({ "user": asker.name, "by": asker.kind, "pod": pod.name() }))
}

async fn create_api_key(
    State(pod): State<Arc<Pod>>,
    asker: Identity,
) -> Result<(StatusCode, Json<Issued>), Refusal> {
    Ok((StatusCode::CREATED, Json(pod.auth.issue(asker.user, Kind::ApiKey).await?)))
}

async fn delete_api_key(
    State(pod): State<Arc<Pod>>,
    asker: Identity,
    Path(id): Path<i64>,
) -> Result<StatusCode, Refusal> {
    let found = pod.auth.revoke(asker.user, id, Kind::ApiKey).await?;
    if found { Ok(StatusCode::NO_CONTENT) } else { Err(Refusal::NotFound) }
}

#[derive(Debug, Deserialize)]
struct NewStream {
    chunks: i32,
    interval_ms: i32,
}

async fn create_stream(
    State(pod): State<Arc<Pod>>,
    asker: Identity,
    Form(form): Form<NewStream>,
) -> Result<(StatusCode, Json<Job>), Refusal> {
    if !(1..=10_000).contains(&form.chunks) || !(0..=60_000).contains(&form.interval_ms) {
        return Err(Refusal::Invalid("chunks go from 1 to 10000, interval_ms from 0 to 60000"));
    }
    Ok((StatusCode::CREATED, Json(pod.work.start(asker.user, form.chunks, form.interval_ms).await?)))
}

async fn follow_stream(
    State(pod): State<Arc<Pod>>,
    asker: Identity,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let seen = match headers.get("last-event-id").map(|value| value.to_str().unwrap_or_default().parse()) {
        None => 0,
        Some(Ok(seen)) => seen,
        Some(Err(_)) => return Err(Refusal::Invalid("Last-Event-ID is the id of an event")),
    };
    let sql = "SELECT id FROM streams WHERE id = $1 AND user_id = $2";
    if pod.db.query_opt(sql, &[&id, &asker.user]).await?.is_none() {
        return Err(Refusal::NotFound);
    }
    Ok(attach::follow(Arc::clone(&pod.bus), id, seen, pod.closing.clone()).into_response())
}
