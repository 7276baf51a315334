//! Carrying bytes between two connections, as if they were one.

use std::io;

use tokio::net::TcpStream;

/// What each direction holds at most between its reading and its writing. A side that does not read stops the
/// other one from being read.
const BUFFER: usize = 32 * 1024;

/// Carries bytes both ways until both have ended. The end of one direction is passed on and leaves the other as it
/// is; a broken connection breaks the other one too.
pub(crate) async fn relay(mut one: TcpStream, mut other: TcpStream) {
    if tokio::io::copy_bidirectional_with_sizes(&mut one, &mut other, BUFFER, BUFFER).await.is_err() {
        reset(one);
        reset(other);
    }
}

/// Ends a connection as a process does that dies: the other side hears of it at once, and not as of a good end.
pub(crate) fn reset(stream: TcpStream) {
    // It may have ended by itself.
    let _ = stream.set_zero_linger();
    drop(stream);
}

/// Whether accepting failed because of the one who wanted to be accepted, who went away again.
pub(crate) fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap());
        let (near, far) = tokio::join!(near, listener.accept());
        (near.unwrap(), far.unwrap().0)
    }

    async fn relayed() -> (TcpStream, TcpStream) {
        let ((client, near), (far, server)) = (pair().await, pair().await);
        tokio::spawn(relay(near, far));
        (client, server)
    }

    #[tokio::test]
    async fn the_end_of_one_direction_leaves_the_other() {
        let (mut client, mut server) = relayed().await;
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut question = String::new();
        server.read_to_string(&mut question).await.unwrap();
        assert_eq!(question, "question");
        server.write_all(b"answer").await.unwrap();
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer");
    }

    #[tokio::test]
    async fn a_broken_connection_breaks_the_other() {
        let (mut client, server) = relayed().await;
        reset(server);
        let error = client.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_side_that_does_not_read_stops_the_other() {
        let (client, mut server) = relayed().await;
        // Without an end of the buffers this would go on for ever.
        let block = vec![7; 1 << 20];
        let mut sent = 0_usize;
        loop {
            let time = std::time::Duration::from_millis(500);
            match tokio::time::timeout(time, server.write(&block)).await {
                Ok(written) => sent += written.unwrap(),
                Err(_) => break,
            }
            assert!(sent < 256 << 20, "it takes in everything");
        }
        drop(server);
        let mut client = client;
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        assert_eq!(received.len(), sent);
    }
}
