//! `init`: a first stack file, from what lies in the directory.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use belljar_model::{ErrorCode, ExitCode};
use belljar_stack::{RecipeBook, SourceFile, Stack};
use serde_json::json;

use crate::app::App;
use crate::draft::{self, Draft};
use crate::error::{CliError, Result, internal};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  belljar init --print")]
pub(crate) struct Args {
    /// The project's directory [default: here]
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Write nothing; print the file
    #[arg(long)]
    print: bool,
}

pub(crate) fn run(app: &App, args: &Args) -> Result<ExitCode> {
    let dir = args.dir.as_ref().map_or_else(|| app.cwd.clone(), |dir| app.cwd.join(dir));
    let file = dir.join("belljar.toml");
    if !dir.is_dir() {
        return Err(CliError::new(ErrorCode::Usage, format!("{} is not a directory", dir.display())));
    }
    let recipes = RecipeBook::with_dir(&dir)?;
    let names: Vec<String> = recipes.iter().map(|one| one.name.clone()).collect();
    let name = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let draft = draft::survey(&dir, &name, &names);
    let text = draft::write(&draft);
    // Whatever was found, what is written has to be right: a fault in it is our own.
    Stack::parse(&SourceFile { path: file.clone(), text: text.clone() }, &recipes).map_err(|faults| {
        CliError::new(ErrorCode::Internal, format!("what was found here makes no valid file:\n{faults}"))
    })?;
    if !args.print {
        write_new(&file, &text)?;
    }
    let told = told(&draft, !args.print);
    if app.printer.json {
        app.printer.document(&json!({
            "file": file, "written": !args.print, "text": text, "found": draft.found, "first": draft.first,
        }))?;
    } else if args.print {
        app.printer.out(&text)?;
        app.printer.note(told.trim_end());
    } else {
        app.printer.out(&format!("wrote {}\n\n{told}", file.display()))?;
    }
    Ok(ExitCode::OK)
}

/// Writes a file that is not there yet; one that is stays as it is, whatever it is.
fn write_new(file: &std::path::Path, text: &str) -> Result<()> {
    match fs_err::OpenOptions::new().write(true).create_new(true).open(file) {
        Ok(mut new) => new.write_all(text.as_bytes()).map_err(internal),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let message = format!("{} is there already, and stays as it is", file.display());
            Err(CliError::new(ErrorCode::FileExists, message).hint(
                "`belljar init --print` shows what would be written; `belljar check` looks at what is there",
            ))
        }
        Err(error) => Err(CliError::of(ErrorCode::OutputFailed, &error)),
    }
}

fn told(draft: &Draft, is_written: bool) -> String {
    let mut text = String::from("found\n");
    for one in &draft.found {
        let _ = writeln!(text, "  {one}");
    }
    if draft.found.is_empty() {
        text.push_str("  nothing that says what the project runs: the file holds an example\n");
    }
    let unknown: Vec<&str> =
        draft.services.iter().filter(|one| !one.is_known()).map(|one| one.name.as_str()).collect();
    if !is_written {
        return text;
    }
    text.push_str("\nnext\n");
    if !unknown.is_empty() {
        let _ = writeln!(text, "  say in belljar.toml how these are started: {}", unknown.join(", "));
    }
    for one in &draft.first {
        let _ = writeln!(text, "  {one}");
    }
    text.push_str("  belljar up      start a session, and see whether all of it becomes ready\n");
    text.push_str("  belljar graph   draw what the file says\n");
    text
}
