//! `probe`: a readiness check made by hand, and everything that helps to understand why it does not hold.

use std::io::{BufRead as _, BufReader};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use belljar_client::wire::{ErrorView, ProbeView, ReplicaView, SessionView};
use belljar_model::ErrorCode;
use belljar_sandbox::listeners;
use belljar_sandbox::spec::{PathCheck, SocketSpec, Target};
use belljar_stack::plan::Check;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::time::{Instant, timeout};

use super::readiness::{self, Subject};
use super::{Shared, connection, exit_of, explain, output_pipe};

/// A command that is there to check something and takes longer is told of, and ended.
const COMMAND_WITHIN: Duration = Duration::from_secs(10);
/// So many lines are shown of a command or a log.
const LINES: usize = 5;
/// More of a command's output than this is not read.
const LONGEST: usize = 64 * 1024;

/// Probes the replicas that `target` names, a replica or a service, one after another.
pub(crate) async fn probe(
    shared: &Arc<Shared>,
    view: &SessionView,
    target: &str,
) -> Result<Vec<ProbeView>, ErrorView> {
    let mut probes = Vec::new();
    for replica in view.services.values().flat_map(|service| &service.replicas) {
        let is_meant = replica.name.as_str() == target || replica.name.service().as_str() == target;
        if let Some(index) = shared.defined.find(&replica.name).filter(|_| is_meant) {
            probes.push(one(shared, index, replica).await);
        }
    }
    if probes.is_empty() {
        let replicas = view.services.values().flat_map(|service| &service.replicas);
        let names: Vec<String> = replicas.map(|one| one.name.to_string()).collect();
        return Err(ErrorView {
            code: ErrorCode::ReplicaNotFound,
            message: format!("session {} has no replica or service `{target}`", view.name),
            hints: vec![format!("its replicas are {}", names.join(", "))],
        });
    }
    Ok(probes)
}

async fn one(shared: &Arc<Shared>, index: usize, replica: &ReplicaView) -> ProbeView {
    let check = &shared.replica_plan(index).ready.check;
    let started = Instant::now();
    let (why, details) = match shared.live(index).filter(|_| replica.state.is_alive()) {
        Some(live) => match judged(shared, index, &shared.subject(index, &live), check).await {
            Ok(()) => (None, Vec::new()),
            Err((why, details)) => (Some(why), details),
        },
        None => not_running(replica),
    };
    ProbeView {
        replica: replica.name.clone(),
        state: replica.state,
        check: in_words(check, replica),
        holds: why.is_none(),
        why,
        details,
        took_ms: (started.elapsed().as_secs_f64() * 1e6).round() / 1e3,
    }
}

fn not_running(replica: &ReplicaView) -> (Option<String>, Vec<String>) {
    let how = replica.exit.as_ref().map_or_else(String::new, |exit| format!(": {exit}"));
    let mut details = Vec::new();
    if !replica.last_lines.is_empty() {
        details.push("its last lines:".to_owned());
        details.extend(last(&replica.last_lines));
    }
    (Some(format!("it does not run; it is {}{how}", replica.state)), details)
}

async fn judged(
    shared: &Arc<Shared>,
    index: usize,
    subject: &Subject,
    check: &Check,
) -> Result<(), (String, Vec<String>)> {
    if let Check::Exec { argv } = check {
        // The one check whose own words say why.
        return shared.exec_told(index, argv.clone()).await;
    }
    let Err(why) = readiness::once(subject, check).await else { return Ok(()) };
    let details = match check {
        // Where there was an answer, somebody listens.
        Check::Http { .. } if why.contains(" answered ") => Vec::new(),
        Check::Tcp { .. } | Check::Http { .. } => {
            let hint = readiness::loopback_hint(subject, check).await;
            let hint = hint.trim_start_matches("; ").to_owned();
            let mut details = vec![who_listens(subject).await];
            details.extend((!hint.is_empty()).then_some(hint));
            details
        }
        Check::Log { pattern } => near_lines(&shared.logs.dir().join(log_name(shared, index)), pattern),
        Check::File { path } => what_is_there(subject, path).await,
        Check::Socket { path } => {
            let exists = PathCheck::Exists(path.clone());
            match subject.connection.check(subject.unit, exists).await {
                Ok(true) => vec![format!("{} is there, but nobody listens on it", path.display())],
                _ => what_is_there(subject, path).await,
            }
        }
        Check::Notify => vec!["it gets the socket's path as NOTIFY_SOCKET".to_owned()],
        Check::Started | Check::Exec { .. } => Vec::new(),
    };
    Err((why, details))
}

fn log_name(shared: &Shared, index: usize) -> String {
    format!("{}.log", shared.replica_plan(index).name)
}

async fn who_listens(subject: &Subject) -> String {
    let spec = SocketSpec::SockDiag(connection::place(subject.index));
    let Ok(diag) = subject.connection.socket(spec).await else {
        return "who listens cannot be asked".to_owned();
    };
    match listeners(diag.as_fd()) {
        Ok(found) if found.is_empty() => "it listens on no TCP port at all".to_owned(),
        Ok(found) => {
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            format!("it listens on {}", found.join(", "))
        }
        Err(error) => error.to_string(),
    }
}

/// How far the path is there.
async fn what_is_there(subject: &Subject, path: &Path) -> Vec<String> {
    for above in path.ancestors().skip(1) {
        let exists = PathCheck::Exists(PathBuf::from(above));
        if matches!(subject.connection.check(subject.unit, exists).await, Ok(true)) {
            return vec![format!("{} is there, and has no {}", above.display(), first_missing(path, above))];
        }
    }
    Vec::new()
}

fn first_missing(path: &Path, above: &Path) -> String {
    let rest = path.strip_prefix(above).unwrap_or(path);
    rest.components().next().map(|one| one.as_os_str().to_string_lossy().into_owned()).unwrap_or_default()
}

/// The lines of a log that share most words with the pattern; where none does, its last ones.
fn near_lines(log: &Path, pattern: &str) -> Vec<String> {
    let Ok(file) = fs_err::File::open(log) else { return vec!["it has said nothing".to_owned()] };
    let words: Vec<String> = pattern
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.len() >= 3)
        .map(str::to_lowercase)
        .collect();
    let mut near: Vec<(usize, String)> = Vec::new();
    let mut last_ones = std::collections::VecDeque::new();
    for line in BufReader::new(file.into_file()).split(b'\n').map_while(Result::ok) {
        // `SECONDS out|err TEXT`
        let line = String::from_utf8_lossy(&line);
        let text = line.splitn(3, ' ').nth(2).unwrap_or_default().to_owned();
        let lower = text.to_lowercase();
        let score = words.iter().filter(|word| lower.contains(word.as_str())).count();
        if score > 0 {
            near.push((score, text.clone()));
            // Of equal lines the newest stay.
            near.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
            near.truncate(LINES);
        }
        last_ones.push_back(text);
        if last_ones.len() > LINES {
            last_ones.pop_front();
        }
    }
    let (title, lines): (&str, Vec<String>) = if !near.is_empty() {
        ("these lines came near:", near.into_iter().map(|(_, line)| line).collect())
    } else if last_ones.is_empty() {
        return vec!["it has said nothing".to_owned()];
    } else {
        ("its last lines:", last_ones.into())
    };
    std::iter::once(title.to_owned()).chain(last(&lines)).collect()
}

/// The last few lines, as details are shown.
fn last(lines: &[String]) -> Vec<String> {
    lines[lines.len().saturating_sub(LINES)..].iter().map(|line| format!("  {line}")).collect()
}

impl Shared {
    /// Runs a readiness command in the replica's place; the error is why it did not hold, and what it said.
    async fn exec_told(&self, replica: usize, argv: Vec<String>) -> Result<(), (String, Vec<String>)> {
        let plain = |why: String| (why, Vec::new());
        let plan = self.replica_plan(replica);
        let shown = argv.join(" ");
        let spec = Self::replica_process(replica, &plan, argv, &plan.env, false);
        let io = |error: std::io::Error| plain(error.to_string());
        let null = OwnedFd::from(fs_err::File::open("/dev/null").map_err(io)?.into_file());
        let (out_reader, out) = output_pipe().map_err(io)?;
        let err = out.try_clone().map_err(io)?;
        let process = self
            .connection
            .spawn(spec, [null, out, err], Vec::new())
            .await
            .map_err(explain)
            .map_err(plain)?;
        let unit = process.unit;
        let said = tokio::spawn(read_all(out_reader));
        let Ok(status) = timeout(COMMAND_WITHIN, process.exit).await else {
            self.connection.kill_all(Target::UnitGroup(unit)).await;
            let within = belljar_model::duration::short(COMMAND_WITHIN);
            return Err((format!("`{shown}` was still running after {within}"), told(said).await));
        };
        match status.map(exit_of) {
            Ok(exit) if exit.is_success() => Ok(()),
            Ok(exit) => Err((format!("`{shown}` ended with {exit}"), told(said).await)),
            Err(_) => Err(plain("the session ended".to_owned())),
        }
    }
}

async fn read_all(mut reader: pipe::Receiver) -> Vec<u8> {
    let mut said = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = reader.read(&mut buffer).await {
        let room = LONGEST.saturating_sub(said.len()).min(count);
        said.extend_from_slice(&buffer[..room]);
    }
    said
}

async fn told(said: tokio::task::JoinHandle<Vec<u8>>) -> Vec<String> {
    // Something may have been handed a writing end and keep it.
    let Ok(Ok(said)) = timeout(super::PIPES_CLOSE_WITHIN, said).await else { return Vec::new() };
    let text = String::from_utf8_lossy(&said);
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if lines.is_empty() {
        return vec!["it said nothing".to_owned()];
    }
    std::iter::once("it said:".to_owned()).chain(last(&lines)).collect()
}

fn in_words(check: &Check, replica: &ReplicaView) -> String {
    let name = &replica.name;
    match check {
        Check::Started => "its process runs".to_owned(),
        Check::Tcp { ports } => {
            let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
            format!("TCP {} takes connections", ports.join(", "))
        }
        Check::Http { port, path, status, body } => {
            let status = status.map_or_else(|| "any 2xx".to_owned(), |status| status.to_string());
            let body =
                body.as_ref().map_or_else(String::new, |body| format!(" and a body that matches /{body}/"));
            format!("GET http://{name}:{port}{path} answers {status}{body}")
        }
        Check::Exec { argv } => format!("`{}` ends with code 0", argv.join(" ")),
        Check::Log { pattern } => format!("a line of its log matches /{pattern}/"),
        Check::Notify => "it sends READY=1".to_owned(),
        Check::File { path } => format!("{} exists", path.display()),
        Check::Socket { path } => format!("{} takes connections", path.display()),
    }
}
