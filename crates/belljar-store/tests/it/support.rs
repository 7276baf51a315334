//! A state directory of a test's own, and short ways to fill it.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use belljar_model::{SessionId, SessionName};
use belljar_store::{CleanOptions, DEFAULT_RETENTION, NameWish, NewRun, NewSession, SessionKind, Store};

/// When the tests' sessions are created.
pub(crate) const CREATED: i64 = 1_700_000_000_000;

/// Longer than the grace time.
pub(crate) const LATER: i64 = CREATED + 3_600_000;

pub(crate) struct State {
    pub(crate) base: tempfile::TempDir,
    pub(crate) dir: PathBuf,
}

impl State {
    pub(crate) fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("state");
        Self { base, dir }
    }

    pub(crate) fn open(&self) -> Store {
        Store::open(&self.dir).unwrap()
    }

    pub(crate) fn registry(&self) -> PathBuf {
        self.dir.join("registry.sqlite")
    }
}

/// A different id for every number.
pub(crate) fn id(number: u64) -> SessionId {
    SessionId::from_random(number)
}

pub(crate) fn name(text: &str) -> SessionName {
    SessionName::new(text).unwrap()
}

pub(crate) fn exactly(number: u64, text: &str) -> NewSession {
    new(number, NameWish::Exactly(name(text)))
}

pub(crate) fn new(number: u64, name: NameWish) -> NewSession {
    NewSession {
        id: id(number),
        name,
        stack: "pods".parse().unwrap(),
        stack_file: "/srv/pods/belljar.toml".into(),
        origin: "/srv/pods".into(),
        owner_uid: 1000,
        host_pid: std::process::id(),
        created_ms: CREATED,
        kind: SessionKind::Up,
        control_socket: format!("/nowhere/{}/control.sock", id(number)).into(),
    }
}

pub(crate) fn new_run(id: &str) -> NewRun {
    NewRun {
        id: id.to_owned(),
        stack: "pods".parse().unwrap(),
        origin: "/srv/pods".into(),
        started_ms: CREATED,
    }
}

pub(crate) fn clean_at(now_ms: i64) -> CleanOptions {
    CleanOptions { all: false, now_ms, retention: DEFAULT_RETENTION }
}

/// The tests' own clock, for what carries times of the file system.
pub(crate) fn wall_ms(plus: Duration) -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + plus;
    i64::try_from(since.as_millis()).unwrap()
}

/// Every file below a directory with what is in it, to see that nothing has changed.
pub(crate) fn contents_of(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs_err::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs_err::symlink_metadata(&path).unwrap();
            let mut bytes = Vec::new();
            if metadata.is_dir() {
                dirs.push(path.clone());
            } else if metadata.is_symlink() {
                bytes = fs_err::read_link(&path).unwrap().into_os_string().into_encoded_bytes();
            } else if path.extension().is_none_or(|extension| extension != "sqlite-shm") {
                fs_err::File::open(&path).unwrap().read_to_end(&mut bytes).unwrap();
            }
            all.insert(path, bytes);
        }
    }
    all
}
