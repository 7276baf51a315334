//! A session's control socket: any bytes as a connection, before a supervisor whose processes are made up.

use std::cell::RefCell;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use belljar_session::WallClock;
use belljar_stack::RecipeBook;

use super::{fake_init, plans};

/// A session is used for so many connections, for what it remembers grows.
const CONNECTIONS: u32 = 500;
/// An answer that has not come until then is not waited for: a wait may be long, and a stream without end.
const PATIENCE: Duration = Duration::from_millis(20);
const MOMENT: Duration = Duration::from_millis(1);
/// Until then whoever asks for the session itself has an answer, whatever came before.
const LIMIT: Duration = Duration::from_secs(20);

const STACK: &str = "[service.db]\nrun = 'db'\nrestart = 'always'\n\
                     [service.api]\nrun = 'api'\nreplicas = 2\nafter = ['db']\n\
                     [task.migrate]\nrun = 'migrate'\nafter = ['db']\n";

struct Session {
    socket: PathBuf,
    used: u32,
    ended: Arc<AtomicBool>,
    /// Dropped, the session goes.
    _stop: tokio::sync::oneshot::Sender<()>,
    _dir: tempfile::TempDir,
}

thread_local! {
    static SESSION: RefCell<Option<Session>> = const { RefCell::new(None) };
}

/// Whatever is sent is answered with HTTP or with the end of the connection, and the session still answers.
pub fn run(data: &[u8]) {
    SESSION.with_borrow_mut(|slot| {
        if slot
            .as_ref()
            .is_some_and(|session| session.used >= CONNECTIONS || session.ended.load(Ordering::SeqCst))
        {
            *slot = None;
        }
        let session = slot.get_or_insert_with(Session::start);
        session.used += 1;
        session.one(data);
    });
}

impl Session {
    fn start() -> Self {
        let dir = super::scratch();
        let stack = plans::parse(STACK.to_owned(), &RecipeBook::builtin())
            .unwrap_or_else(|faults| panic!("{faults}"));
        let plan = plans::plan(&stack).expect("nothing of it depends on the machine");
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (started, has_started) = std::sync::mpsc::channel();
        let ended = Arc::new(AtomicBool::new(false));
        let (path, tell) = (dir.path().to_owned(), Arc::clone(&ended));
        // One thread for all of it, as a host process has.
        let served = async move {
            let clock = WallClock(Arc::new(|| jiff::Timestamp::UNIX_EPOCH));
            let (id, name) = (plans::session_id(), plans::session_name());
            let session = belljar_session::fuzzing::serve(&path, plan, id, name, clock, fake_init::start());
            let handle = session.expect("the directory is empty");
            tokio::spawn(async move {
                handle.ended().await;
                tell.store(true, Ordering::SeqCst);
            });
            started.send(()).expect("it is waited for");
            // An error, for nothing is ever sent.
            let _ = stopped.await;
        };
        std::thread::Builder::new()
            .name("control: its session".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("descriptors are to be had").block_on(served);
            })
            .expect("threads are to be had");
        has_started.recv().expect("the session starts");
        Self { socket: dir.path().join("control.sock"), used: 0, ended, _stop: stop, _dir: dir }
    }

    fn one(&self, data: &[u8]) {
        let Ok(mut stream) = UnixStream::connect(&self.socket) else {
            assert!(self.is_over(), "a live session does not listen");
            return;
        };
        stream.set_read_timeout(Some(PATIENCE)).expect("it is not nothing");
        stream.set_write_timeout(Some(PATIENCE)).expect("it is not nothing");
        // The other side may have closed it by then, for good reason.
        let _ = stream.write_all(data);
        let answer = read(&mut stream);
        let _ = stream.shutdown(Shutdown::Write);
        assert!(answer.is_empty() || b"HTTP/1.".starts_with(&answer[..answer.len().min(7)]), "{answer:?}");
        drop(stream);
        self.still_answers();
    }

    fn still_answers(&self) {
        let asked = UnixStream::connect(&self.socket).and_then(|mut stream| {
            stream.set_read_timeout(Some(LIMIT))?;
            stream.write_all(b"GET /v1/session HTTP/1.1\r\nhost: belljar\r\nconnection: close\r\n\r\n")?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).map(|_| answer)
        });
        if let Ok(answer) = &asked
            && answer.starts_with(b"HTTP/1.1 200")
        {
            let start = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head") + 4;
            let view: belljar_client::wire::SessionView =
                serde_json::from_slice(&answer[start..]).expect("what the client reads");
            assert!(view.seq > 0);
            return;
        }
        assert!(self.is_over(), "a live session does not answer: {asked:?}");
    }

    /// Whether it has ended, which it does a moment after it was told.
    fn is_over(&self) -> bool {
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            if self.ended.load(Ordering::SeqCst) {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }
}

/// What comes, until the end, or for as long as one waits.
fn read(stream: &mut UnixStream) -> Vec<u8> {
    let mut answer = Vec::new();
    let mut buffer = [0; 16 * 1024];
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                answer.extend_from_slice(&buffer[..count]);
                // What belongs to it follows at once, if anything does.
                stream.set_read_timeout(Some(MOMENT)).expect("it is not nothing");
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Nothing more for now, or the connection is reset.
            Err(_) => break,
        }
    }
    answer
}

pub const WORDS: &[&str] = &[
    "GET ",
    "POST ",
    "HEAD ",
    "OPTIONS ",
    "/v1/session",
    "/v1/replicas/",
    "kill",
    "term",
    "stop",
    "start",
    "restart",
    "pause",
    "resume",
    "/v1/wait?",
    "for=ready",
    "for=exited",
    "for=idle",
    "&replica=",
    "api-1",
    "api",
    "db",
    "migrate",
    "&within_ms=",
    "/v1/drain?within=",
    "100ms",
    "0s",
    "99999999999999999d",
    "/v1/env",
    "/v1/events?",
    "from=",
    "follow=true",
    "/v1/logs?",
    "tail=",
    "since_ms=",
    "/v1/exec",
    "/v1/down",
    " HTTP/1.1\r\n",
    " HTTP/1.0\r\n",
    "host: belljar\r\n",
    "connection: close\r\n",
    "connection: upgrade\r\n",
    "upgrade: belljar-exec\r\n",
    "content-length: ",
    "transfer-encoding: chunked\r\n",
    "expect: 100-continue\r\n",
    "\r\n\r\n",
    "\r\n",
    "0\r\n\r\n",
    "{\"targets\":[\"api-1\"]}",
    "{\"targets\":[]}",
    "{\"why\":\"x\"}",
    "{\"argv\":[\"x\"],\"env\":{},\"cwd\":\"\"}",
    "\"replica\":\"api-1\"",
    "\"terminal\":{\"rows\":1,\"columns\":1}",
    "\"busy\":false",
    "%00",
    "%2e%2e/",
    "%ff",
    "..",
    "\u{0}\u{0}\u{0}\u{0}\u{1}x",
    "\u{3}\u{0}\u{0}\u{0}\u{0}",
    "\u{5}\u{0}\u{0}\u{0}\u{4}\u{0}\u{0}\u{0}\u{9}",
];
