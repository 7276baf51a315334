//! Answers that go on: events, logs, and a command's frames.

use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::{Query, Request};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use belljar_client::frame::{Frame, FrameReader, write_frame};
use belljar_client::query::EventsQuery;
use belljar_client::wire::{EXEC_UPGRADE, ErrorBody, ErrorView, ExecRequest, LogLine, Stream, TerminalSize};
use belljar_client::{Client, ClientError, LogsQuery};
use belljar_model::event::Exit;
use belljar_model::{ErrorCode, EventKind};
use futures_util::stream;
use http::StatusCode;
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio::sync::mpsc;

use crate::server::Server;

/// A router that answers `path` with these pieces, just so.
fn in_pieces(path: &str, pieces: &[&'static [u8]]) -> Router {
    let pieces = pieces.to_vec();
    let answer = async move || {
        let pieces = pieces.clone().into_iter().map(|piece| Ok::<_, std::io::Error>(Bytes::from(piece)));
        Response::new(Body::from_stream(stream::iter(pieces)))
    };
    Router::new().route(path, get(answer))
}

#[tokio::test]
async fn events_come_however_they_are_cut_and_unknown_kinds_are_counted() {
    let server = Server::start(in_pieces(
        "/v1/events",
        &[
            b": hello\n\nid: 1\nda",
            b"ta: {\"v\":1,\"seq\":1,\"t\":0.0,\"wall\":\"\",\"kind\":\"session.ready\"}\n\n",
            b"id: 2\r\ndata: {\"v\":1,\"seq\":2,\"t\":0.1,\"wall\":\"\",\"kind\":\"moon.landed\"}\r\n\r\n",
            b"data: {\"v\":2,\"seq\":3,\"t\":0.1,\"wall\":\"\",\"kind\":\"session.ready\"}\n\n",
            b"data:{\"v\":1,\"seq\":4,\"t\":0.2,\"wall\":\"\",\ndata:\"kind\":\"session.ended\",\"why\":\"\"}\n\n",
        ],
    ));
    let mut events = server.client().events(0, false).await.unwrap();
    let first = events.next().await.unwrap().unwrap();
    assert_eq!((first.seq, first.kind), (1, EventKind::SessionReady {}));
    let last = events.next().await.unwrap().unwrap();
    assert_eq!((last.seq, last.kind), (4, EventKind::SessionEnded { why: String::new() }));
    assert_eq!(events.skipped(), 2);
    assert!(events.next().await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_no_event_is_an_error() {
    for damage in [&b"data: hello\n\n"[..], b"data: {\"seq\":1}\n\n", b"data: \xff\n\n", b"data: {\"v\":1"] {
        let server = Server::start(in_pieces("/v1/events", &[damage]));
        let error = server.client().events(0, false).await.unwrap().next().await.unwrap_err();
        assert!(matches!(error, ClientError::Protocol { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn events_are_told_as_they_happen_and_a_dropped_call_loses_none() {
    let (sender, receiver) = mpsc::unbounded_channel::<Bytes>();
    let receiver = Arc::new(Mutex::new(Some(receiver)));
    let answer = move |Query(query): Query<EventsQuery>| {
        assert_eq!(query, EventsQuery { from: 5, follow: true });
        let receiver = receiver.lock().unwrap().take().unwrap();
        let pieces = stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|piece| (Ok::<_, std::io::Error>(piece), receiver))
        });
        async { Response::new(Body::from_stream(pieces)) }
    };
    let server = Server::start(Router::new().route("/v1/events", get(answer)));
    let mut events = server.client().events(5, true).await.unwrap();
    for seq in 5_u64..9 {
        let text = format!(r#"data: {{"v":1,"seq":{seq},"t":0.0,"wall":"","kind":"session.ready"}}"#);
        for half in [text.as_bytes()[..20].to_vec(), [&text.as_bytes()[20..], b"\n\n"].concat()] {
            // Asked and given up, with half of it on its way.
            tokio::select! {
                biased;
                early = events.next() => panic!("{early:?}"),
                () = tokio::task::yield_now() => {}
            }
            sender.send(Bytes::from(half)).unwrap();
        }
        assert_eq!(events.next().await.unwrap().unwrap().seq, seq);
    }
    drop(sender);
    assert!(events.next().await.unwrap().is_none());
}

#[tokio::test]
async fn logs_come_line_by_line() {
    let server = Server::start(in_pieces(
        "/v1/logs",
        &[
            b"{\"from\":\"api-1\",\"t\":0.5,\"stream\":\"out\",\"line\":\"one\"}\n{\"from\":\"api-2\",",
            b"\"t\":0.75,\"stream\":\"err\",\"line\":\"tw\\u00f6\"}\n",
        ],
    ));
    let mut logs = server.client().logs(&LogsQuery::default()).await.unwrap();
    let line =
        |from: &str, t, stream, line: &str| LogLine { from: from.into(), t, stream, line: line.into() };
    assert_eq!(logs.next().await.unwrap(), Some(line("api-1", 0.5, Stream::Out, "one")));
    assert_eq!(logs.next().await.unwrap(), Some(line("api-2", 0.75, Stream::Err, "twö")));
    assert_eq!(logs.next().await.unwrap(), None);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_an_end() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    // It is killed after the first piece.
    let dying = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut request).await.unwrap();
        }
        let answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\n: hello\n\n\r\n";
        stream.write_all(answer).await.unwrap();
    });
    let mut events = Client::new(socket).events(0, true).await.unwrap();
    let error = events.next().await.unwrap_err();
    assert!(matches!(error, ClientError::Lost { .. }), "{error:?}");
    dying.await.unwrap();
}

fn exec_request() -> ExecRequest {
    ExecRequest {
        replica: None,
        argv: vec!["cat".into()],
        env: [].into(),
        cwd: "/".into(),
        busy: true,
        terminal: Some(TerminalSize { rows: 24, columns: 80 }),
    }
}

/// A "command" that gives its input back, and ends with code 3 where that ends.
async fn cat(request: Request) -> Response {
    assert_eq!(request.headers()["upgrade"], EXEC_UPGRADE);
    assert_eq!(request.headers()["connection"], "upgrade");
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    assert_eq!(serde_json::from_slice::<ExecRequest>(&body).unwrap(), exec_request());
    let upgrade = hyper::upgrade::on(Request::from_parts(head, Body::empty()));
    tokio::spawn(async move {
        let stream = TokioIo::new(upgrade.await.unwrap());
        let (reader, mut writer) = tokio::io::split(stream);
        let mut reader = FrameReader::new(reader);
        while let Some(frame) = reader.next().await.unwrap() {
            let answer = match frame {
                Frame::Stdin(bytes) => Frame::Stdout(bytes),
                Frame::Signal(number) => Frame::Stderr(number.to_string().into_bytes()),
                Frame::StdinEnd => Frame::Exit(Exit { code: Some(3), signal: None }),
                other => panic!("{other:?}"),
            };
            write_frame(&mut writer, &answer).await.unwrap();
            if matches!(answer, Frame::Exit(_)) {
                return;
            }
        }
    });
    let response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
    response.header("connection", "upgrade").header("upgrade", EXEC_UPGRADE).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn a_command_is_spoken_to_through_its_channel() {
    let server = Server::start(Router::new().route("/v1/exec", post(cat)));
    let mut channel = server.client().exec(&exec_request()).await.unwrap();
    channel.send(&Frame::Signal(15)).await.unwrap();
    assert_eq!(channel.receive().await.unwrap(), Some(Frame::Stderr(b"15".to_vec())));

    let (mut sender, mut receiver) = channel.split();
    let sending = tokio::spawn(async move {
        for byte in 0..20 {
            sender.send(&Frame::Stdin(vec![byte; 100_000])).await.unwrap();
        }
        sender.send(&Frame::StdinEnd).await.unwrap();
        sender
    });
    for byte in 0..20 {
        assert_eq!(receiver.receive().await.unwrap(), Some(Frame::Stdout(vec![byte; 100_000])));
    }
    assert_eq!(receiver.receive().await.unwrap(), Some(Frame::Exit(Exit { code: Some(3), signal: None })));
    drop(sending.await.unwrap());
    assert_eq!(receiver.receive().await.unwrap(), None);
}

#[tokio::test]
async fn a_command_that_is_refused_says_why() {
    let no = || async {
        let error =
            ErrorView { code: ErrorCode::ReplicaNotRunning, message: "it is down".into(), hints: vec![] };
        (StatusCode::CONFLICT, Json(ErrorBody { error }))
    };
    let server = Server::start(Router::new().route("/v1/exec", post(no)));
    let error = server.client().exec(&exec_request()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ReplicaNotRunning);

    // A server that answers and does not upgrade.
    let server = Server::start(Router::new().route("/v1/exec", post(|| async { "fine" })));
    let error = server.client().exec(&exec_request()).await.unwrap_err();
    assert!(matches!(error, ClientError::Protocol { .. }), "{error:?}");
}
