//! A server of a test's own: a router behind a unix socket.

use std::path::PathBuf;

use axum::Router;
use belljar_client::Client;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

/// It is there as long as the value is.
pub(crate) struct Server {
    _dir: tempfile::TempDir,
    socket: PathBuf,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) fn start(router: Router) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("control.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { _dir: dir, socket, task }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.socket.clone())
    }

    /// Nobody listens any more, and the socket's file is still there: as after a SIGKILL.
    pub(crate) async fn kill(&mut self) {
        self.task.abort();
        assert!((&mut self.task).await.unwrap_err().is_cancelled());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
