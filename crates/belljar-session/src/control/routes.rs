//! The routes, in one table: the router and `openapi.json` are both made from it.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use belljar_client::query::{DrainQuery, EventsQuery, LogsQuery, ProbeQuery, WaitQuery};
use belljar_client::wire::{
    Applied, ApplyRequest, Done, DownRequest, EnvView, ErrorView, ExpireRequest, ProbesView, ScaleRequest,
    SessionView, Targets, Verb,
};
use belljar_model::{Cause, ErrorCode};

use super::{Control, Refusal, exec, streams};
use crate::machine::{Answer, Ask};
use crate::native::probing;

/// One route as the documentation shows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) summary: &'static str,
    /// Names of the schemas in `openapi.json`.
    pub(crate) body: Option<&'static str>,
    pub(crate) answer: Option<&'static str>,
    /// Query parameters: name, whether it is required, what it says.
    pub(crate) query: &'static [(&'static str, bool, &'static str)],
}

/// Every route of version 1.
pub(crate) const ROUTES: &[Route] = &[
    Route {
        method: "get",
        path: "/v1/session",
        summary: "The session as it is now",
        body: None,
        answer: Some("SessionView"),
        query: &[],
    },
    Route {
        method: "post",
        path: "/v1/replicas/{verb}",
        summary: "kill, term, stop, start, restart, pause or resume replicas; answered when it is true",
        body: Some("Targets"),
        answer: Some("Done"),
        query: &[],
    },
    Route {
        method: "get",
        path: "/v1/wait",
        summary: "Wait for a condition of a replica, a service or the whole session",
        body: None,
        answer: Some("SessionView"),
        query: &[
            ("for", true, "ready, exited, unhealthy or idle"),
            ("replica", false, "a replica or a service; the whole session where none is named"),
            ("within_ms", true, "milliseconds, after which the answer is `wait-timed-out`"),
        ],
    },
    Route {
        method: "get",
        path: "/v1/drain",
        summary: "Wait until nothing is under way: no restart, no task, no exec, no starting replica",
        body: None,
        answer: None,
        query: &[("within", true, "a duration such as 2s")],
    },
    Route {
        method: "get",
        path: "/v1/probe",
        summary: "Make the readiness check of a replica, or of each replica of a service, once and now",
        body: None,
        answer: Some("ProbesView"),
        query: &[("replica", true, "a replica or a service")],
    },
    Route {
        method: "get",
        path: "/v1/env",
        summary: "What commands of the session get on top of the caller's environment",
        body: None,
        answer: Some("EnvView"),
        query: &[],
    },
    Route {
        method: "get",
        path: "/v1/events",
        summary: "The timeline as server-sent events, one event each",
        body: None,
        answer: Some("Event"),
        query: &[
            ("from", false, "the first event's number"),
            ("follow", false, "true: go on with what comes, until the session ends"),
        ],
    },
    Route {
        method: "get",
        path: "/v1/logs",
        summary: "Logs as JSON Lines, one line of a log each",
        body: None,
        answer: Some("LogLine"),
        query: &[
            ("from", false, "replicas, services or tasks, separated by commas"),
            ("follow", false, "true: go on with what comes, until the session ends"),
            ("tail", false, "only the last so many lines"),
            ("since_ms", false, "only what came after so many milliseconds of the session"),
        ],
    },
    Route {
        method: "post",
        path: "/v1/exec",
        summary: "Run a command in the session: `Upgrade: belljar-exec`, then frames both ways",
        body: Some("ExecRequest"),
        answer: None,
        query: &[],
    },
    Route {
        method: "post",
        path: "/v1/apply",
        summary: "Make the session what another edition of its stack says; answered when all of it is done",
        body: Some("ApplyRequest"),
        answer: Some("Applied"),
        query: &[],
    },
    Route {
        method: "post",
        path: "/v1/scale",
        summary: "Give services other numbers of replicas; answered when they are ready, or gone",
        body: Some("ScaleRequest"),
        answer: Some("Applied"),
        query: &[],
    },
    Route {
        method: "post",
        path: "/v1/expire",
        summary: "Give the session so long to live from now on",
        body: Some("ExpireRequest"),
        answer: None,
        query: &[],
    },
    Route {
        method: "post",
        path: "/v1/down",
        summary: "End the session; answered when everything of it has ended",
        body: Some("DownRequest"),
        answer: None,
        query: &[],
    },
];

pub(super) fn router(control: Control) -> Router {
    Router::new()
        .route("/v1/session", get(session))
        .route("/v1/replicas/{verb}", post(act))
        .route("/v1/wait", get(wait))
        .route("/v1/drain", get(drain))
        .route("/v1/probe", get(probe))
        .route("/v1/env", get(env))
        .route("/v1/events", get(events))
        .route("/v1/logs", get(logs))
        .route("/v1/exec", post(run))
        .route("/v1/apply", post(apply))
        .route("/v1/scale", post(scale))
        .route("/v1/expire", post(expire))
        .route("/v1/down", post(down))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .with_state(control)
}

async fn unknown(request: Request) -> (StatusCode, Refusal) {
    let message = format!("there is no {} {}", request.method(), request.uri().path());
    (StatusCode::NOT_FOUND, Refusal::malformed(message))
}

async fn session(State(control): State<Control>) -> Json<SessionView> {
    Json(control.handle.view().await)
}

async fn act(
    State(control): State<Control>,
    Path(verb): Path<String>,
    body: Bytes,
) -> Result<Json<Done>, Refusal> {
    let verb = Verb::ALL.iter().copied().find(|one| one.as_str() == verb);
    let verb = verb.ok_or_else(|| Refusal::malformed("no such verb"))?;
    let Targets { targets } = serde_json::from_slice(&body).map_err(Refusal::malformed)?;
    if targets.is_empty() {
        return Err(Refusal::malformed("`targets` is empty"));
    }
    match control.handle.ask(Ask::Act { verb, targets, by: Cause::Command }).await {
        Ok(Answer::Done(done)) => Ok(Json(done)),
        Ok(_) => Err(Refusal::new(ErrorCode::Internal, "a verb was answered as something else is")),
        Err(error) => Err(Refusal(error)),
    }
}

async fn wait(
    State(control): State<Control>,
    query: Result<Query<WaitQuery>, QueryRejection>,
) -> Result<Json<SessionView>, Refusal> {
    let Query(query) = query.map_err(Refusal::malformed)?;
    let within = Duration::from_millis(query.within_ms);
    let ask = Ask::Wait { condition: query.wait_for, target: query.replica, within };
    control.handle.ask(ask).await.map_err(Refusal)?;
    Ok(Json(control.handle.view().await))
}

async fn drain(
    State(control): State<Control>,
    query: Result<Query<DrainQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(query) = query.map_err(Refusal::malformed)?;
    let within = belljar_model::duration::parse(&query.within).map_err(Refusal::malformed)?;
    control.handle.ask(Ask::Drain { within }).await.map_err(Refusal)?;
    Ok(nothing())
}

async fn probe(
    State(control): State<Control>,
    query: Result<Query<ProbeQuery>, QueryRejection>,
) -> Result<Json<ProbesView>, Refusal> {
    let Query(query) = query.map_err(Refusal::malformed)?;
    let view = control.handle.view().await;
    let probes = probing::probe(&control.shared, &view, &query.replica).await.map_err(Refusal)?;
    Ok(Json(ProbesView { probes }))
}

async fn env(State(control): State<Control>) -> Json<EnvView> {
    Json(EnvView { env: (*control.shared.defined.command_env()).clone() })
}

async fn events(
    State(control): State<Control>,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(query) = query.map_err(Refusal::malformed)?;
    Ok(streams::events(control, query))
}

async fn logs(
    State(control): State<Control>,
    query: Result<Query<LogsQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(query) = query.map_err(Refusal::malformed)?;
    Ok(streams::logs(control, query))
}

async fn run(State(control): State<Control>, request: Request) -> Result<Response, Refusal> {
    exec::start(control, request).await
}

async fn down(State(control): State<Control>, body: Bytes) -> Result<Response, Refusal> {
    let DownRequest { why, in_order } = serde_json::from_slice(&body).map_err(Refusal::malformed)?;
    if in_order {
        control.handle.end_in_order(&why).await;
    } else {
        control.handle.end(&why).await;
    }
    Ok(nothing())
}

async fn apply(State(control): State<Control>, body: Bytes) -> Result<Json<Applied>, Refusal> {
    let asked: ApplyRequest = serde_json::from_slice(&body).map_err(Refusal::malformed)?;
    // Whoever asked may go away; what was begun goes on.
    let applied = tokio::spawn(async move { control.editor.apply(&asked.edition, asked.dry).await });
    answered(applied.await)
}

async fn scale(State(control): State<Control>, body: Bytes) -> Result<Json<Applied>, Refusal> {
    let ScaleRequest { replicas } = serde_json::from_slice(&body).map_err(Refusal::malformed)?;
    let applied = tokio::spawn(async move { control.editor.scale(&replicas).await });
    answered(applied.await)
}

fn answered<E: std::fmt::Display>(
    applied: Result<Result<Applied, ErrorView>, E>,
) -> Result<Json<Applied>, Refusal> {
    match applied {
        Ok(Ok(applied)) => Ok(Json(applied)),
        Ok(Err(error)) => Err(Refusal(error)),
        Err(error) => Err(Refusal::new(ErrorCode::Internal, error.to_string())),
    }
}

async fn expire(State(control): State<Control>, body: Bytes) -> Result<Response, Refusal> {
    let ExpireRequest { within_ms } = serde_json::from_slice(&body).map_err(Refusal::malformed)?;
    control.editor.expire(Duration::from_millis(within_ms)).await.map_err(Refusal)?;
    Ok(nothing())
}

fn nothing() -> Response {
    StatusCode::NO_CONTENT.into_response()
}
