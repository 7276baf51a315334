//! `test`: scenarios, each in a session of its own.

use std::io::{IsTerminal as _, Write as _};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use belljar_model::{ExitCode, RunEvent};
use belljar_report::{JsonLines, Reporter, Terminal};
use belljar_runner::{Capabilities, Filter, Host, Keep, Options, Random, RunConfig, RunError, Selection};
use belljar_sandbox::Zygote;
use belljar_stack::plan::Isolation;
use belljar_store::RuntimeDir;
use serde_json::json;
use tokio::sync::watch;

use super::isolation;
use super::relay::terminal_size;
use super::stack_args::{StackArgs, duration};
use crate::app::App;
use crate::error::{CliError, Result};
use crate::hosting;
use crate::signals::Signals;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  belljar test pods -j 4 --filter '*::pod-*|!*::pod-slow'")]
pub(crate) struct Args {
    /// Suites, scenarios (`suite::name`), or files of scenarios [default: all]
    #[arg(value_name = "SUITE|FILE")]
    named: Vec<String>,
    #[command(flatten)]
    file: StackArgs,
    /// How many scenarios run at once at most [default: the number of cores]
    #[arg(short, long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Only scenarios with this tag (or one of these)
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Only scenarios that match: globs over `suite::name`, joined by `|`, with `!` for not
    #[arg(long, value_name = "EXPR", value_parser = Filter::parse)]
    filter: Option<Filter>,
    /// A deadline for each scenario, instead of the suites' own
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
    /// How many more attempts a scenario gets that did not pass, instead of the suites' own
    #[arg(long, value_name = "N")]
    retries: Option<u32>,
    /// How often each scenario is executed
    #[arg(long, value_name = "N", default_value = "1")]
    count: std::num::NonZeroU32,
    /// Start nothing more once a scenario has not passed
    #[arg(long)]
    fail_fast: bool,
    /// Whose sessions' files stay on disk
    #[arg(long, value_name = "WHICH", default_value = "failed")]
    keep: KeepChoice,
    #[command(flatten)]
    isolation: isolation::IsolationArgs,
    /// Only list what would run
    #[arg(long)]
    list: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum KeepChoice {
    Never,
    Failed,
    Always,
}

impl Args {
    /// Whether no session will be carried.
    pub(crate) fn only_lists(&self) -> bool {
        self.list
    }
}

pub(crate) async fn run(app: &App, zygote: Option<Arc<Zygote>>, args: &Args) -> Result<ExitCode> {
    let (cancel, cancelled) = watch::channel(false);
    let config = config(app, args, cancelled)?;
    let Some(zygote) = zygote else { return list(app, &config) };
    let mut signals = Signals::listen()?;
    let reporter = reporter(app);
    let mut out = Out { reporter, closed: false };
    let result = {
        let running = belljar_runner::run(zygote, config, |event| out.show(event));
        tokio::pin!(running);
        let mut asked = None;
        loop {
            tokio::select! {
                result = &mut running => break (result, asked),
                signal = signals.next() => {
                    // The first ends in order, the second at once: dropping the run kills what is left.
                    if asked.replace(signal).is_some() {
                        return Ok(signal.exit_code());
                    }
                    cancel.send_replace(true);
                }
            }
        }
    };
    out.close();
    let (summary, asked) = result;
    let summary = summary.map_err(run_error)?;
    Ok(asked.map_or_else(|| summary.counts.exit_code(), crate::signals::Asked::exit_code))
}

fn config(app: &App, args: &Args, cancel: watch::Receiver<bool>) -> Result<RunConfig> {
    let (stack_file, stack) = args.file.load(app, None)?;
    let jobs = match args.jobs {
        Some(jobs) => jobs.get(),
        None => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
    };
    let mut env = app.env.all().clone();
    let user = app.user();
    env.insert("USER".to_owned(), user.name.clone());
    let isolation = decide_isolation(app, args, stack.isolation());
    Ok(RunConfig {
        stack: Arc::new(stack),
        stack_file,
        store: Arc::new(app.store()?),
        runtime_dir: RuntimeDir::choose(&app.env.runtime_dirs(App::uid()), App::uid())?,
        host: Host {
            env,
            cwd: app.cwd.clone(),
            user,
            uid: App::uid(),
            pid: std::process::id(),
            program: App::program()?,
            programs: Arc::new(hosting::programs(app)),
            visible: hosting::visible(app)?,
            capabilities: Arc::new(Capabilities::new(Box::new(move || {
                let tried = belljar_sandbox::probe();
                let is_there = |one: &&belljar_sandbox::Capability| {
                    // What a seal is made of is of no use to whoever has none.
                    one.works && (isolation == Isolation::Sealed || one.name.starts_with("limits "))
                };
                tried.iter().filter(is_there).map(|one| one.name.to_owned()).collect()
            }))),
            clock: app.clock(),
            random: Random(Arc::new(|| hosting::random().unwrap_or_default())),
            ports: app.ports()?,
        },
        selection: Selection {
            named: args.named.clone(),
            tags: args.tags.clone(),
            filter: args.filter.clone(),
        },
        options: Options {
            isolation,
            jobs,
            timeout: args.timeout,
            retries: args.retries,
            count: args.count.get(),
            fail_fast: args.fail_fast,
            keep: match args.keep {
                KeepChoice::Never => Keep::Never,
                KeepChoice::Failed => Keep::Failed,
                KeepChoice::Always => Keep::Always,
            },
        },
        cancel,
    })
}

/// For all of the run at once. Trying the machine costs a millisecond or two, once.
fn decide_isolation(app: &App, args: &Args, declared: Option<Isolation>) -> Isolation {
    let asked = args.isolation.isolation.map(Into::into).or(declared);
    asked.unwrap_or_else(|| {
        let why = if args.only_lists() { None } else { belljar_sandbox::why_not_sealed() };
        why.map_or(Isolation::Sealed, |why| {
            app.printer.note(&isolation::fallback_note(&why));
            Isolation::Shared
        })
    })
}

fn list(app: &App, config: &RunConfig) -> Result<ExitCode> {
    let catalogue = belljar_runner::list(config).map_err(run_error)?;
    let selected = belljar_runner::select(&catalogue, &config.selection, &app.cwd).map_err(run_error)?;
    for note in &catalogue.notes {
        app.printer.note(&format!("note: {note}"));
    }
    if app.printer.json {
        let scenarios: Vec<_> = selected
            .iter()
            .map(|one| {
                json!({"suite": one.suite_name(), "name": one.short_name(), "tags": one.tags, "path": one.path})
            })
            .collect();
        app.printer.document(&json!({ "scenarios": scenarios }))?;
    } else {
        for one in &selected {
            app.printer.out(&format!("{}\n", one.name))?;
        }
    }
    Ok(ExitCode::OK)
}

fn reporter(app: &App) -> Box<dyn Reporter> {
    if app.printer.json {
        return Box::new(JsonLines);
    }
    let colours = app.printer.out_color();
    match terminal_size().filter(|_| std::io::stdout().is_terminal()) {
        Some(size) => Box::new(Terminal::live(usize::from(size.columns), colours)),
        None => Box::new(Terminal::plain(colours)),
    }
}

/// Standard output, until nobody reads it any more. The run goes on all the same: its outcome is its exit code.
struct Out {
    reporter: Box<dyn Reporter>,
    closed: bool,
}

impl Out {
    fn show(&mut self, event: &RunEvent) {
        if self.closed {
            return;
        }
        let mut stdout = std::io::stdout().lock();
        let shown = self.reporter.event(event, &mut stdout).and_then(|()| stdout.flush());
        self.closed = shown.is_err();
    }

    fn close(&mut self) {
        if !self.closed {
            let mut stdout = std::io::stdout().lock();
            // Nobody can be told that nobody can be told.
            let _ = self.reporter.close(&mut stdout).and_then(|()| stdout.flush());
        }
    }
}

fn run_error(error: RunError) -> CliError {
    let hints = error.hints();
    let mut failure = match error {
        RunError::Plan(error) => error.into(),
        RunError::Store(error) => error.into(),
        other => CliError::of(other.code(), &other),
    };
    for hint in hints {
        failure = failure.hint(hint);
    }
    failure
}
