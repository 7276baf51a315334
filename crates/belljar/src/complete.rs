//! What completes a word of the command line while somebody types it: verbs and options by themselves, and the
//! names of live sessions, services, replicas and recipes by looking.
//!
//! The shell's script (`belljar completions SHELL`) asks the program itself, with the line so far. An argument is
//! completed by what its value is called in the help, so a new verb that takes a `REPLICA` needs nothing here.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use belljar_model::SessionState;
use belljar_stack::{RecipeBook, locate};
use clap::{Arg, ArgAction, Command, CommandFactory as _};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};

use crate::app::App;
use crate::cli::Cli;
use crate::commands::ps;
use crate::env_vars::{self, Environment};
use crate::error::{CliError, Result, internal};
use crate::printer::{ColorChoice, Printer};

/// Nobody waits longer for a word than this.
const PATIENCE: Duration = Duration::from_millis(700);
/// Verbs that tell of sessions that are over.
const OF_THE_PAST: &[&str] = &["ps", "logs", "events", "bundle"];

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Shell {
    fn completer(self) -> &'static dyn EnvCompleter {
        match self {
            Self::Bash => &Bash,
            Self::Zsh => &Zsh,
            Self::Fish => &Fish,
        }
    }

    /// The script that makes the shell ask.
    pub(crate) fn script(self) -> Result<String> {
        let mut script = Vec::new();
        self.completer()
            .write_registration(env_vars::COMPLETE, "belljar", "belljar", "belljar", &mut script)
            .map_err(internal)?;
        String::from_utf8(script).map_err(internal)
    }
}

/// The answer to a shell that asks; none where none does.
pub(crate) fn answer() -> Option<Result<()>> {
    let env = Environment::read();
    let shell = env.get(env_vars::COMPLETE)?;
    let shell = <Shell as clap::ValueEnum>::from_str(shell, false).ok()?;
    // `belljar -- WORDS`, the words of the line.
    let words: Vec<OsString> = std::env::args_os().skip(2).collect();
    Some(write_candidates(shell, env, words))
}

fn write_candidates(shell: Shell, env: Environment, words: Vec<OsString>) -> Result<()> {
    let cwd = std::env::current_dir().map_err(internal)?;
    let line = Line::read(&words, env, cwd.clone());
    let mut command = completing(Cli::command(), &line);
    let mut candidates = Vec::new();
    shell.completer().write_complete(&mut command, words, Some(&cwd), &mut candidates).map_err(internal)?;
    let printer = Printer::new(false, ColorChoice::Never, true);
    printer.out(&String::from_utf8_lossy(&candidates))
}

/// The command line with a completer wherever its values have names that are known.
fn completing(command: Command, line: &Line) -> Command {
    let line = line.clone();
    command
        .mut_args({
            let line = line.clone();
            move |arg| completed(arg, &line)
        })
        .mut_subcommands(move |verb| {
            let line = line.clone();
            verb.mut_args(move |arg| completed(arg, &line))
        })
}

fn completed(arg: Arg, line: &Line) -> Arg {
    if !matches!(arg.get_action(), ArgAction::Set | ArgAction::Append) {
        return arg;
    }
    let name = arg
        .get_value_names()
        .and_then(<[_]>::first)
        .map_or_else(|| arg.get_id().as_str().to_uppercase(), ToString::to_string);
    let names: fn(&Line) -> Vec<(String, String)> = match name.as_str() {
        "SESSION" => Line::sessions,
        "REPLICA" => Line::replicas,
        name if name.starts_with("SERVICE") => Line::replicas,
        "RECIPE" => Line::recipes,
        _ => return arg,
    };
    let line = line.clone();
    arg.add(ArgValueCompleter::new(move |current: &OsStr| {
        let current = current.to_string_lossy();
        let fitting = names(&line).into_iter().filter(|(name, _)| name.starts_with(&*current));
        fitting.map(|(name, about)| CompletionCandidate::new(name).help(Some(about.into()))).collect()
    }))
}

/// What the line says so far of the session that it is about.
#[derive(Debug, Clone)]
struct Line {
    app: App,
    verb: Option<String>,
}

impl Line {
    fn read(words: &[OsString], env: Environment, cwd: PathBuf) -> Self {
        let words: Vec<String> =
            words.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
        let option = |long: &str, short: &str| {
            let after = |(index, word): (usize, &String)| match word.strip_prefix(long) {
                Some("") => words.get(index + 1).cloned(),
                Some(rest) => rest.strip_prefix('=').map(str::to_owned),
                None if !short.is_empty() && word == short => words.get(index + 1).cloned(),
                None => None,
            };
            words.iter().enumerate().take_while(|(_, word)| *word != "--").find_map(after)
        };
        let state_dir = option("--state-dir", "").map_or_else(|| env.default_state_dir(), PathBuf::from);
        let session = option("--session", "-s").and_then(|text| text.parse().ok());
        let verbs = Cli::command();
        let verb = words.iter().find(|word| verbs.find_subcommand(word).is_some()).cloned();
        let printer = Printer::new(false, ColorChoice::Never, true);
        Self { app: App { printer, state_dir: cwd.join(state_dir), session, cwd, env }, verb }
    }

    /// Live sessions, and for verbs that tell of the past those that are over.
    fn sessions(&self) -> Vec<(String, String)> {
        let is_past = self.verb.as_deref().is_some_and(|verb| OF_THE_PAST.contains(&verb));
        let Ok(Some(store)) = self.app.store_to_read() else { return Vec::new() };
        let mut names: Vec<(String, String)> = Vec::new();
        for record in store.sessions().unwrap_or_default() {
            let Ok(liveness) = record.liveness() else { continue };
            if !liveness.is_live() && !is_past {
                continue;
            }
            let name = record.name.to_string();
            if names.iter().all(|(known, _)| *known != name) {
                names.push((name, format!("{} of stack {}", liveness.state(), record.stack)));
            }
        }
        names
    }

    /// Services and replicas: those of the session where there is one, else those that the stack file declares.
    fn replicas(&self) -> Vec<(String, String)> {
        let mut names = self.of_session().unwrap_or_else(|_| self.of_stack().unwrap_or_default());
        if self.verb.as_deref() == Some("exec") {
            // A command runs in one place.
            names.retain(|(_, about)| !about.starts_with("service"));
        }
        names
    }

    fn of_session(&self) -> Result<Vec<(String, String)>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(internal)?;
        let view = runtime.block_on(async {
            match tokio::time::timeout(PATIENCE, ps::view_of(&self.app)).await {
                Ok(view) => view,
                Err(_) => Err(CliError::Silent(belljar_model::ExitCode::OK)),
            }
        })?;
        if matches!(view.state, SessionState::Dead | SessionState::Ended) && self.app.session.is_none() {
            return Err(CliError::Silent(belljar_model::ExitCode::OK));
        }
        let mut names = Vec::new();
        for (name, service) in &view.services {
            let count = service.replicas.len();
            names.push((
                name.to_string(),
                format!("service, {count} replica{}", if count == 1 { "" } else { "s" }),
            ));
            names.extend(service.replicas.iter().map(|one| (one.name.to_string(), one.state.to_string())));
        }
        if self.verb.as_deref() == Some("logs") {
            names.extend(
                view.tasks.iter().map(|(name, task)| (name.to_string(), format!("task, {}", task.state))),
            );
        }
        Ok(names)
    }

    fn of_stack(&self) -> Result<Vec<(String, String)>> {
        let plan = App::stack(&self.app.stack_file(None)?)?.outline();
        let mut names = Vec::new();
        for service in &plan.services {
            names.push((service.name.to_string(), "service".to_owned()));
            names.extend(service.replicas.iter().map(|one| (one.name.to_string(), "replica".to_owned())));
        }
        Ok(names)
    }

    fn recipes(&self) -> Vec<(String, String)> {
        let dir = locate(&self.app.cwd).and_then(|file| Some(file.parent()?.to_owned()));
        let book = dir.and_then(|dir| RecipeBook::with_dir(&dir).ok()).unwrap_or_else(RecipeBook::builtin);
        book.iter().map(|one| (one.name.clone(), one.summary.clone())).collect()
    }
}
