//! Telling that nobody is there.

use std::time::Duration;

use belljar_model::ErrorCode;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Standing;

/// How long a question may take that is answered without being understood.
const PATIENCE: Duration = Duration::from_secs(2);
/// How much of it is looked at.
const LONGEST_HEAD: usize = 64 * 1024;

/// What is told of a replica that cannot be reached.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: ErrorCode,
    pub(crate) standing: Standing,
}

impl Refusal {
    /// Answers one HTTP request, whatever it asks for, and ends the connection.
    pub(crate) async fn answer(&self, mut stream: TcpStream) {
        let head = timeout(PATIENCE, head(&mut stream)).await.unwrap_or_default();
        let answer = self.response(head.starts_with(b"HEAD "));
        if stream.write_all(&answer).await.is_err() || stream.shutdown().await.is_err() {
            return;
        }
        // A connection that is closed with something unread is broken, and with it the answer may be lost.
        let rest = async {
            let mut buffer = [0; 4096];
            while matches!(stream.read(&mut buffer).await, Ok(1..)) {}
        };
        let _ = timeout(PATIENCE, rest).await;
    }

    fn response(&self, without_body: bool) -> Vec<u8> {
        let Self { code, standing: Standing { replica, state, restarting, .. } } = self;
        let message = match code {
            ErrorCode::ReplicaNotListening => format!("{replica} is {state}, and takes no connections here"),
            _ => format!("{replica} is {state}"),
        };
        let body = json!({"error": {
            "code": code, "message": message, "replica": replica, "state": state, "restarting": restarting,
        }});
        let body = format!("{body}\n");
        let head = format!(
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Cache-Control: no-store\r\nConnection: close\r\n\r\n",
            body.len()
        );
        if without_body { head.into_bytes() } else { [head, body].concat().into_bytes() }
    }
}

/// What comes until the empty line, or until there is enough of it.
async fn head(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        head.extend_from_slice(&buffer[..count]);
        if head.windows(4).any(|four| four == b"\r\n\r\n") || head.len() >= LONGEST_HEAD {
            break;
        }
    }
    head
}

#[cfg(test)]
mod tests {
    use belljar_model::ReplicaState;

    use super::*;
    use crate::ports::testing::standing;

    #[test]
    fn the_answer_says_who_is_not_there() {
        let standing = Standing { restarting: true, ..standing(2, ReplicaState::Exited) };
        let refusal = Refusal { code: ErrorCode::ReplicaNotRunning, standing };
        let text = String::from_utf8(refusal.response(false)).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(
            body,
            json!({"error": {"code": "replica-not-running", "message": "api-2 is exited", "replica": "api-2",
                             "state": "exited", "restarting": true}})
        );
        assert!(String::from_utf8(refusal.response(true)).unwrap().ends_with("\r\n\r\n"));
    }
}
