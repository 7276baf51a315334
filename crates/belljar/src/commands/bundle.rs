//! `bundle`: everything about a session in one archive, to be looked at elsewhere.
//!
//! What is kept of a session was written by programs under test, so nothing in its directory is trusted: files are
//! opened below it by the kernel's own check, links are left out, and everything has a largest size.

use std::fmt::Write as _;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use belljar_model::{ErrorCode, ExitCode, Selector};
use belljar_stack::Plan;
use belljar_store::{SessionKind, SessionRecord, artifacts};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::ps;
use crate::app::App;
use crate::error::{CliError, Result};
use crate::hosting;
use crate::secrets::{Secrets, environments, is_secret};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  belljar bundle shop-order -o shop-order.tar.gz")]
pub(crate) struct Args {
    /// The session by name or id, live or over [default: the only live one of this directory]
    #[arg(value_name = "SESSION")]
    selector: Option<Selector>,
    /// Write to this file, which must not be there [default: belljar-NAME-ID.tar.gz here]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Of a longer file the beginning and the end are taken, half of this each.
const LARGEST_FILE: u64 = 16 << 20;
/// What would make the whole larger is left out, and told.
const LARGEST_WHOLE: u64 = 256 << 20;
const MOST_FILES: usize = 5000;
const DEEPEST: usize = 16;

/// The caller's variables that say something about how a session runs. Of the others the names are told.
const TELLING: &[&str] = &["PATH", "HOME", "USER", "SHELL", "LANG", "TERM", "TMPDIR", "CI", "NO_COLOR"];
const TELLING_BEGINNINGS: &[&str] = &["BELLJAR_", "XDG_", "LC_", "RUST_"];

pub(crate) async fn run(app: &App, args: &Args) -> Result<ExitCode> {
    let record = app.record(args.selector.as_ref().or(app.session.as_ref()))?;
    let name = format!("belljar-{}-{}", record.name, record.id);
    let output = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.tar.gz")));
    let output = app.cwd.join(output);
    let plan = plan_again(app, &record);
    let about_session = App { session: Some(Selector::Id(record.id.clone())), ..app.clone() };
    let view = ps::view_of(&about_session).await?;

    let file = create(&output)?;
    let secrets = secrets(app, plan.as_ref());
    let mut bundle = Bundle {
        tar: tar::Builder::new(GzEncoder::new(file, Compression::default())),
        name,
        secrets,
        mtime: u64::try_from(record.created_ms / 1000).unwrap_or_default(),
        size: 0,
        files: Vec::new(),
        left_out: Vec::new(),
    };
    let result = fill(app, &mut bundle, &record, plan.as_ref(), &json!(view));
    let result = result.and_then(|()| bundle.finish(&record));
    let (files, left_out) = match result {
        Ok(told) => told,
        Err(error) => {
            // Half an archive is no archive.
            let _ = fs_err::remove_file(&output);
            return Err(CliError::of(ErrorCode::OutputFailed, &error));
        }
    };
    if app.printer.json {
        app.printer.document(&json!({"file": output, "files": files, "left_out": left_out}))?;
    } else {
        app.printer.out(&format!("{}\n", output.display()))?;
        for one in &left_out {
            app.printer.note(&format!("left out: {one}"));
        }
        app.printer.note("secrets known by their names are replaced; look through it before you pass it on");
    }
    Ok(ExitCode::OK)
}

/// A new file that nobody else can read.
fn create(path: &Path) -> Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(path);
    opened.map_err(|error| {
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            let message = format!("{} is there already, and stays as it is", path.display());
            return CliError::new(ErrorCode::FileExists, message).hint("`-o FILE` names another");
        }
        CliError::new(ErrorCode::OutputFailed, format!("cannot write {}: {error}", path.display()))
    })
}

/// The session's stack file as it is now, planned for that session. It tells which values were secret.
fn plan_again(app: &App, record: &SessionRecord) -> Option<Plan> {
    let stack = App::stack(&record.stack_file).ok()?;
    let dir = record.dir.root().to_owned();
    let context = hosting::planning_context(app, record.id.clone(), record.name.clone(), dir, 0);
    Some(stack.plan(&context, &hosting::programs(app)).unwrap_or_else(|_| stack.outline()))
}

fn secrets(app: &App, plan: Option<&Plan>) -> Secrets {
    Secrets::among(plan.into_iter().flat_map(environments).chain([app.env.all()]))
}

fn fill(
    app: &App,
    bundle: &mut Bundle,
    record: &SessionRecord,
    plan: Option<&Plan>,
    view: &Value,
) -> std::io::Result<()> {
    bundle.document("session.json", view)?;
    bundle.document("versions.json", &versions())?;
    bundle.document("environment.json", &environment(app))?;
    bundle.document("doctor.json", &doctor(app))?;
    bundle.text("repeat.sh", &repeat(app, record))?;
    if let Some(dir) = record.stack_file.parent() {
        let name = record.stack_file.file_name().map(PathBuf::from).unwrap_or_default();
        bundle.below(dir, &name, "stack")?;
        bundle.directory(dir, Path::new("recipes"), "stack", 1)?;
    }
    let root = record.dir.root();
    // What it was started as; of scenarios' and of older sessions, what its stack file comes to now.
    if record.dir.plan().exists() {
        bundle.below(root, Path::new("plan.json"), "")?;
    } else if let Some(plan) = plan {
        bundle.document("plan.json", &super::plan::document(plan))?;
    }
    bundle.below(root, Path::new("events.jsonl"), "")?;
    for dir in ["logs", "artifacts"] {
        bundle.directory(root, Path::new(dir), "", DEEPEST)?;
    }
    Ok(())
}

fn versions() -> Value {
    let kernel = rustix::system::uname();
    let text = |value: &std::ffi::CStr| value.to_string_lossy().into_owned();
    let system = fs_err::read_to_string("/etc/os-release").ok().and_then(|file| {
        let line = file.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
        Some(line.trim_matches('"').to_owned())
    });
    json!({
        "belljar": crate::cli::VERSION, "system": system,
        "kernel": format!("{} {} {}", text(kernel.sysname()), text(kernel.release()), text(kernel.machine())),
    })
}

/// What `belljar doctor` says here, asked as anybody asks it.
fn doctor(app: &App) -> Value {
    let asked = App::program().ok().and_then(|program| {
        let mut command = std::process::Command::new(program);
        command.args(["doctor", "--json", "--state-dir"]).arg(&app.state_dir).output().ok()
    });
    asked.and_then(|output| serde_json::from_slice(&output.stdout).ok()).unwrap_or(Value::Null)
}

/// The caller's variables: those that matter here with their values, of the others the names.
fn environment(app: &App) -> Value {
    let tells = |name: &str| {
        TELLING.contains(&name) || TELLING_BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
    };
    let shown: serde_json::Map<String, Value> = app
        .env
        .all()
        .iter()
        .map(|(name, value)| {
            let value = if tells(name) && !is_secret(name) { value.as_str() } else { "[not shown]" };
            (name.clone(), value.into())
        })
        .collect();
    Value::Object(shown)
}

/// The command that would do it again, as far as it is known.
fn repeat(app: &App, record: &SessionRecord) -> String {
    let quoted = |path: &Path| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
    let file = quoted(&record.stack_file);
    let command = match record.kind {
        Some(SessionKind::Test) => match scenario(app, record) {
            Some(scenario) => format!("belljar test -f {file} --filter '{scenario}'"),
            None => format!("belljar test -f {file}"),
        },
        Some(SessionKind::Run) => {
            format!("belljar run -f {file} -- \"$@\"   # the command that was run is not recorded")
        }
        Some(SessionKind::Up) | None => format!("belljar up -f {file} --name {}", record.name),
    };
    format!("#!/bin/sh\ncd {}\n{command}\n", quoted(&record.origin))
}

/// The scenario that an attempt's session was made for, as the run's timeline tells it.
fn scenario(app: &App, record: &SessionRecord) -> Option<String> {
    let store = app.store_to_read().ok()??;
    let dir = Value::from(record.dir.root().display().to_string()).to_string();
    store.runs().ok()?.iter().find_map(|run| {
        let events = fs_err::read_to_string(run.events()).ok()?;
        let line = events.lines().find(|line| line.contains("attempt.started") && line.contains(&dir))?;
        let event: Value = serde_json::from_str(line).ok()?;
        event["scenario"].as_str().map(str::to_owned)
    })
}

/// An archive that is being written.
struct Bundle {
    tar: tar::Builder<GzEncoder<std::fs::File>>,
    /// The directory that everything of it lies in.
    name: String,
    secrets: Secrets,
    mtime: u64,
    size: u64,
    files: Vec<String>,
    left_out: Vec<String>,
}

impl Bundle {
    fn document(&mut self, name: &str, document: &Value) -> std::io::Result<()> {
        let mut text = serde_json::to_string_pretty(document)?;
        text.push('\n');
        self.text(name, &text)
    }

    fn text(&mut self, name: &str, text: &str) -> std::io::Result<()> {
        self.bytes(name, text.as_bytes().to_vec())
    }

    fn bytes(&mut self, name: &str, bytes: Vec<u8>) -> std::io::Result<()> {
        let bytes = self.secrets.redacted(bytes);
        let size = bytes.len() as u64;
        if self.size + size > LARGEST_WHOLE || self.files.len() >= MOST_FILES {
            self.left_out.push(format!("{name}: the archive would become too large"));
            return Ok(());
        }
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_mtime(self.mtime);
        self.tar.append_data(&mut header, format!("{}/{name}", self.name), bytes.as_slice())?;
        self.size += size;
        self.files.push(name.to_owned());
        Ok(())
    }

    /// Takes in a file below `root`, under `into`. What cannot be taken is told.
    fn below(&mut self, root: &Path, relative: &Path, into: &str) -> std::io::Result<()> {
        let name = Path::new(into).join(relative).to_string_lossy().into_owned();
        match artifacts::open(root, relative).map_err(|error| error.to_string()).and_then(read_capped) {
            Ok(bytes) => self.bytes(&name, bytes),
            Err(why) => {
                self.left_out.push(format!("{name}: {why}"));
                Ok(())
            }
        }
    }

    /// Takes in the plain files of a directory below `root`, in the order of their names.
    fn directory(&mut self, root: &Path, relative: &Path, into: &str, depth: usize) -> std::io::Result<()> {
        let dir = root.join(relative);
        if fs_err::symlink_metadata(&dir).is_ok_and(|data| data.is_symlink()) {
            self.left_out.push(format!("{}: a link", relative.display()));
            return Ok(());
        }
        let Ok(entries) = fs_err::read_dir(dir) else { return Ok(()) };
        let mut entries: Vec<_> = entries.flatten().take(MOST_FILES).collect();
        entries.sort_by_key(fs_err::DirEntry::file_name);
        for entry in entries {
            let path = relative.join(entry.file_name());
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && depth > 1 {
                self.directory(root, &path, into, depth - 1)?;
            } else if kind.is_file() {
                self.below(root, &path, into)?;
            } else {
                let what = if kind.is_symlink() { "a link" } else { "no plain file" };
                self.left_out.push(format!("{}: {what}", path.display()));
            }
        }
        Ok(())
    }

    /// Writes down what is in it, and closes it.
    fn finish(mut self, record: &SessionRecord) -> std::io::Result<(Vec<String>, Vec<String>)> {
        let text = self.contents(record);
        self.text("README.txt", &text)?;
        let Self { tar, files, left_out, .. } = self;
        let mut file = tar.into_inner()?.finish()?;
        file.flush()?;
        file.sync_all()?;
        Ok((files, left_out))
    }

    fn contents(&self, record: &SessionRecord) -> String {
        let mut text = format!(
            "Session {} ({}) of stack {}, bundled by belljar {}.\n\n",
            record.name,
            record.id,
            record.stack,
            crate::cli::VERSION
        );
        text.push_str(
            "session.json      its state, replicas and tasks\n\
             events.jsonl      what happened, an event a line\n\
             logs/             what each replica and task said: seconds, out or err, the line\n\
             artifacts/        what its scenario kept\n\
             plan.json         commands, addresses, environments: as it was started with `up` or `run`; of a\n\
             \u{20}                 scenario's session, what its stack file comes to now\n\
             stack/            its stack file and recipes, as they are now\n\
             environment.json  variables of the caller; most without their values\n\
             versions.json     belljar and the system\n\
             doctor.json       what the machine can do\n\
             repeat.sh         the command that does it again\n",
        );
        let names = self.secrets.names();
        if !names.is_empty() {
            let names: Vec<&str> = names.into_iter().collect();
            let _ = writeln!(text, "\nReplaced wherever they stood: {}.", names.join(", "));
        }
        text.push_str(
            "Secrets that no variable's name gives away are still in it. The data of replicas is not.\n",
        );
        if !self.left_out.is_empty() {
            text.push_str("\nLeft out:\n");
            for one in &self.left_out {
                let _ = writeln!(text, "  {one}");
            }
        }
        text
    }
}

/// A file's bytes; of a long one the beginning and the end.
fn read_capped(mut file: std::fs::File) -> std::result::Result<Vec<u8>, String> {
    let said = |error: std::io::Error| error.to_string();
    let length = file.metadata().map_err(said)?.len();
    let mut bytes = Vec::new();
    if length <= LARGEST_FILE {
        // It may grow meanwhile.
        (&mut file).take(LARGEST_FILE).read_to_end(&mut bytes).map_err(said)?;
        return Ok(bytes);
    }
    let half = LARGEST_FILE / 2;
    (&mut file).take(half).read_to_end(&mut bytes).map_err(said)?;
    let skipped = length - LARGEST_FILE;
    bytes.extend_from_slice(format!("\n(belljar: {skipped} bytes are left out here)\n").as_bytes());
    file.seek(SeekFrom::Start(length - half)).map_err(said)?;
    file.take(half).read_to_end(&mut bytes).map_err(said)?;
    Ok(bytes)
}
