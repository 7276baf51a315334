//! What this machine can do. A test that needs more is skipped, and every skip is written down: `./x test`
//! counts them, and in CI one skip is a failure.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};

use crate::env::SYSTEM_PATH;

/// Whether the tests run as root: the other half of them runs as an ordinary user.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether namespaces are refused here; the test that asks is then written down as skipped.
pub fn lacks_sealing() -> bool {
    static REFUSED: LazyLock<bool> = LazyLock::new(|| {
        let probe = ["--user", "--map-root-user", "--net", "--pid", "--mount", "--fork", "true"];
        let status = Command::new("unshare").args(probe).stderr(Stdio::null()).status();
        !status.is_ok_and(|status| status.success())
    });
    *REFUSED && skip("this machine refuses user namespaces")
}

/// Whether `program` is absent; the test that asks is then written down as skipped.
pub fn lacks_program(program: &str) -> bool {
    static FOUND: LazyLock<Mutex<HashMap<String, bool>>> = LazyLock::new(Mutex::default);
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    let is_there = *found.entry(program.to_owned()).or_insert_with(|| is_installed(program));
    !is_there && skip(&format!("`{program}` is not installed"))
}

fn is_installed(program: &str) -> bool {
    let usual = SYSTEM_PATH.split(':').map(PathBuf::from);
    // Debian keeps these servers outside of every PATH.
    let versioned = fs_err::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let versioned = versioned.map(|entry| entry.path().join("bin"));
    let others = ["/usr/lib/rabbitmq/bin", "/usr/share/zookeeper/bin"].map(PathBuf::from);
    usual.chain(versioned).chain(others).any(|dir| dir.join(program).exists())
}

/// A directory of the servers that `./x setup` brings from npm and PyPI, such as
/// `node_modules/postgres-17/native/bin`. Where it is absent, the test that asks is written down as skipped.
pub fn server_dir(path: &str) -> Option<PathBuf> {
    let servers = std::env::var_os("BELLJAR_SERVERS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.x/servers"), PathBuf::from);
    let dir = servers.join(path).canonicalize().ok();
    if dir.is_none() {
        skip(&format!("`{path}` is not installed; `./x setup` brings it"));
    }
    dir
}

/// Writes the skip down and answers true.
#[expect(clippy::print_stderr, reason = "the test's own output, shown beside its name")]
fn skip(reason: &str) -> bool {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    eprintln!("skipped: {reason}");
    if let Some(path) = std::env::var_os("BELLJAR_SKIPPED_FILE") {
        append_line(Path::new(&path), &format!("{test}: {reason}"));
    }
    true
}

/// Appends one whole line with one write, so that tests beside each other never mix theirs.
pub(crate) fn append_line(path: &Path, line: &str) {
    let mut file = fs_err::OpenOptions::new().create(true).append(true).open(path).expect("opens the file");
    file.write_all(format!("{line}\n").as_bytes()).expect("writes the line");
}
