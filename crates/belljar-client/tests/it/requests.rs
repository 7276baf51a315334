//! Requests with one answer: what is sent, what comes back, and what goes wrong.

use std::time::Duration;

use axum::extract::{Path, Query};
use axum::routing::{get, post};
use axum::{Json, Router};
use belljar_client::query::{DrainQuery, LogsQuery, WaitQuery};
use belljar_client::wire::{
    Done, DoneReplica, DownRequest, EnvView, ErrorBody, ErrorView, PROTOCOL_HEADER, SessionView, Targets,
    Verb, WaitFor,
};
use belljar_client::{Client, ClientError};
use belljar_model::{ErrorCode, ReplicaState, SessionState};
use http::StatusCode;

use crate::server::Server;

fn view(state: SessionState) -> SessionView {
    SessionView {
        id: "k3f9-x2ab".parse().unwrap(),
        name: "pods".parse().unwrap(),
        stack: "pods".parse().unwrap(),
        state,
        why: None,
        seq: 7,
        services: [].into(),
        tasks: [].into(),
        metrics: None,
    }
}

fn refusal(status: StatusCode, code: ErrorCode) -> (StatusCode, Json<ErrorBody>) {
    let hints = vec!["try `belljar ps`".to_owned()];
    (status, Json(ErrorBody { error: ErrorView { code, message: "it is not so".to_owned(), hints } }))
}

#[tokio::test]
async fn the_session_and_its_environment_are_asked_for() {
    let router = Router::new()
        .route("/v1/session", get(|| async { Json(view(SessionState::Ready)) }))
        .route("/v1/env", get(|| async { Json(EnvView { env: [("DB_HOST".into(), "db".into())].into() }) }));
    let server = Server::start(router);
    let client = server.client();
    assert_eq!(client.session().await.unwrap(), view(SessionState::Ready));
    assert_eq!(client.env().await.unwrap().env["DB_HOST"], "db");
}

#[tokio::test]
async fn a_verb_goes_to_its_targets() {
    let act = |Path(verb): Path<String>, Json(body): Json<Targets>| async move {
        assert_eq!(verb, "kill");
        let done = |target: &String| DoneReplica {
            name: target.parse().unwrap(),
            state: ReplicaState::Exited,
            generation: 1,
            changed: true,
        };
        Json(Done { replicas: body.targets.iter().map(done).collect() })
    };
    let server = Server::start(Router::new().route("/v1/replicas/{verb}", post(act)));
    let targets = ["api-1".to_owned(), "db-1".to_owned()];
    let done = server.client().act(Verb::Kill, &targets).await.unwrap();
    let names: Vec<_> = done.replicas.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["api-1", "db-1"]);
}

#[tokio::test]
async fn waits_carry_what_they_wait_for() {
    let wait = |Query(query): Query<WaitQuery>| async move {
        let expected =
            WaitQuery { wait_for: WaitFor::Exited, replica: Some("api-1".to_owned()), within_ms: 1501 };
        assert_eq!(query, expected);
        Json(view(SessionState::Degraded))
    };
    let drain = |Query(query): Query<DrainQuery>| async move {
        assert_eq!(belljar_model::duration::parse(&query.within), Ok(Duration::from_secs(2)));
        refusal(StatusCode::REQUEST_TIMEOUT, ErrorCode::NotDrained)
    };
    let down = |Json(body): Json<DownRequest>| async move { assert_eq!(body.why, "told to") };
    let router = Router::new()
        .route("/v1/wait", get(wait))
        .route("/v1/drain", get(drain))
        .route("/v1/down", post(down));
    let server = Server::start(router);
    let client = server.client();
    // Rounded up: a wait never becomes shorter on its way.
    let within = Duration::from_micros(1_500_001);
    assert_eq!(
        client.wait(WaitFor::Exited, Some("api-1"), within).await.unwrap().state,
        SessionState::Degraded
    );
    let error = client.drain(Duration::from_secs(2)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotDrained);
    client.down("told to").await.unwrap();
}

#[tokio::test]
async fn a_refusal_comes_with_its_code_its_words_and_its_hints() {
    let no = || async { refusal(StatusCode::NOT_FOUND, ErrorCode::ReplicaNotFound) };
    let server = Server::start(Router::new().route("/v1/session", get(no)));
    match server.client().session().await.unwrap_err() {
        ClientError::Refused(error) => {
            assert_eq!(error.code, ErrorCode::ReplicaNotFound);
            assert_eq!((error.message.as_str(), error.hints.len()), ("it is not so", 1));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_answer_of_another_protocol_is_told() {
    let saying = |version: &'static str| {
        let router = Router::new().route("/v1/session", get(|| async { "hello" }));
        let say = move |mut response: axum::response::Response| async move {
            response.headers_mut().insert(PROTOCOL_HEADER, version.try_into().unwrap());
            response
        };
        Server::start(router.layer(axum::middleware::map_response(say)))
    };
    // Between two versions that is the reason; and one that says nothing is of the first.
    for (version, theirs) in [("2.0", (2, 0)), ("1.0", (1, 0)), ("soon", (1, 0))] {
        let server = saying(version);
        let error = server.client().session().await.unwrap_err();
        let ClientError::OtherVersion { theirs: found } = error else { panic!("{error:?}") };
        assert_eq!((found.major, found.minor), theirs, "{version}");
    }
    let server = saying("1.1");
    let client = server.client();
    let error = client.session().await.unwrap_err();
    assert!(matches!(error, ClientError::Protocol { .. }), "{error:?}");
    // 404 without an error's body.
    let error = client.env().await.unwrap_err();
    assert!(matches!(&error, ClientError::Protocol { what, .. } if what.contains("404")), "{error:?}");
    assert_eq!(error.code(), ErrorCode::Internal);
}

#[tokio::test]
async fn nobody_there_is_told_apart_from_an_answer_that_broke_off() {
    let missing = Client::new("/nowhere/control.sock".into());
    let error = missing.session().await.unwrap_err();
    assert!(matches!(error, ClientError::NotThere { .. }), "{error:?}");
    assert_eq!(error.code(), ErrorCode::SessionEnded);

    let mut server = Server::start(Router::new());
    server.kill().await;
    let error = server.client().session().await.unwrap_err();
    assert!(matches!(error, ClientError::NotThere { .. }), "{error:?}");

    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    // It reads the request, and is gone.
    let dying = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut some = [0; 16];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut some).await.unwrap();
    });
    let error = Client::new(socket).session().await.unwrap_err();
    assert!(matches!(error, ClientError::Lost { .. }), "{error:?}");
    assert_eq!(error.code(), ErrorCode::SessionDead);
    dying.await.unwrap();
}

#[tokio::test]
async fn queries_are_read_as_they_were_written() {
    for query in [
        LogsQuery::default(),
        LogsQuery { from: vec!["api-1".into(), "db".into()], follow: true, tail: Some(0), since_ms: Some(5) },
        LogsQuery { from: vec!["ä &=%+#".into()], ..LogsQuery::default() },
    ] {
        let uri = format!("/v1/logs?{}", query.to_query()).parse().unwrap();
        let Query(read) = Query::<LogsQuery>::try_from_uri(&uri).unwrap();
        assert_eq!(read, query, "{uri}");
    }
}
