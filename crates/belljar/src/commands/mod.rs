//! One file per verb.

mod always;
mod bundle;
mod changes;
mod check;
mod clean;
mod completions;
mod doctor;
mod down;
mod env;
mod events;
mod eventually;
mod exec;
mod graph;
mod host;
mod init;
mod isolation;
mod logs;
mod ls;
pub(crate) mod plan;
mod probe;
pub(crate) mod ps;
mod recipes;
mod relay;
mod run;
mod scale;
mod schema;
mod stack_args;
mod test;
mod up;
mod url;
mod verbs;
mod wait;

use std::sync::Arc;

pub(crate) use isolation::fallback_note;

use belljar_client::wire::Verb;
use belljar_model::ExitCode;
use belljar_sandbox::Zygote;
use clap::Subcommand;

use crate::app::App;
use crate::error::Result;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a session and leave it running; where one runs, make it what its stack says now
    Up(up::Args),
    /// End sessions
    Down(down::Args),
    /// Give services other numbers of replicas while their session runs
    Scale(scale::Args),
    /// List sessions
    Ls(ls::Args),
    /// Show the replicas and tasks of a session
    Ps(ps::Args),
    /// Show what replicas and tasks say
    Logs(logs::Args),
    /// Show what happened in a session
    Events(events::Args),
    /// Run a command in a session of its own
    Run(run::Args),
    /// Run a command in a session that is there
    Exec(exec::Args),
    /// Print the URL of a service or replica
    Url(url::Args),
    /// Print the variables that commands of a session get
    Env(env::Args),
    /// Kill replicas at once, as a power cut does
    #[command(after_help = "Example:\n  belljar kill api-2")]
    Kill(verbs::Args),
    /// Send SIGTERM to the main process of replicas, and leave the rest to them
    #[command(after_help = "Example:\n  belljar term api-2")]
    Term(verbs::Args),
    /// Stop replicas by their stop signal, and kill them when their time is over
    #[command(after_help = "Example:\n  belljar stop api-2 api-3")]
    Stop(verbs::Args),
    /// Start replicas that do not run, and wait until they are ready
    #[command(after_help = "Example:\n  belljar start api-2")]
    Start(verbs::Args),
    /// Stop replicas, start them again, and wait until they are ready
    #[command(after_help = "Example:\n  belljar restart api")]
    Restart(verbs::Args),
    /// Make every process of replicas stand still
    #[command(after_help = "Example:\n  belljar pause db")]
    Pause(verbs::Args),
    /// Let paused replicas go on
    #[command(after_help = "Example:\n  belljar resume db")]
    Resume(verbs::Args),
    /// Wait until a replica, a service or the session is ready, exited or idle
    Wait(wait::Args),
    /// Make a readiness check by hand, and say why it does not hold
    Probe(probe::Args),
    /// Run a command again and again until it succeeds
    Eventually(eventually::Args),
    /// Run a command again and again, and fail as soon as it fails
    Always(always::Args),
    /// Run scenarios, each in a session of its own
    Test(test::Args),
    /// Put everything about a session into one archive, without secrets
    Bundle(bundle::Args),
    /// Write a first stack file for the project in this directory
    Init(init::Args),
    /// Check a stack file and show every fault in it
    Check(check::Args),
    /// Show what a stack file comes to: start order, addresses, environment
    Plan(plan::Args),
    /// Draw a stack: services, tasks, and what comes after what
    Graph(graph::Args),
    /// List the recipes that `use = "…"` can name, show one, or make one your own
    Recipes(recipes::Args),
    /// Print the JSON Schema of stack files, for editors
    Schema(schema::Args),
    /// Say what this machine can do, and what its lacks cost
    Doctor(doctor::Args),
    /// Remove what dead and old sessions left on disk
    Clean(clean::Args),
    /// Print the script that makes a shell complete this command line
    Completions(completions::Args),
    /// Carry a session for `up`
    #[command(name = "__host", hide = true)]
    Host(host::Args),
    /// Keep a session in shared isolation
    #[command(name = "__warden", hide = true)]
    Warden { descriptors: u64 },
}

/// What a command needs of the process before any thread starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    Nothing,
    /// It carries sessions.
    Sessions,
    /// It stays alone with its one thread.
    Nobody {
        descriptors: u64,
    },
}

impl Command {
    pub(crate) fn needs(&self) -> Needs {
        match self {
            Self::Run(_) | Self::Host(_) => Needs::Sessions,
            Self::Warden { descriptors } => Needs::Nobody { descriptors: *descriptors },
            Self::Test(args) if !args.only_lists() => Needs::Sessions,
            _ => Needs::Nothing,
        }
    }

    /// Whether it ends with the code of the command that it was given.
    pub(crate) fn is_run(&self) -> bool {
        matches!(self, Self::Run(_) | Self::Exec(_))
    }
}

pub(crate) async fn run(command: &Command, app: App, zygote: Option<Arc<Zygote>>) -> Result<ExitCode> {
    let app = &app;
    match (command, zygote) {
        (Command::Run(args), Some(zygote)) => run::run(app, &zygote, args).await,
        (Command::Test(args), zygote) => test::run(app, zygote, args).await,
        (Command::Host(_), Some(zygote)) => host::run(app, &zygote).await,
        (Command::Run(_) | Command::Host(_), None) => unreachable!("`needs` asked for it"),
        (command, _) => run_without_sessions(command, app).await,
    }
}

async fn run_without_sessions(command: &Command, app: &App) -> Result<ExitCode> {
    match command {
        Command::Up(args) => up::run(app, args).await,
        Command::Down(args) => down::run(app, args).await,
        Command::Scale(args) => scale::run(app, args).await,
        Command::Ls(args) => ls::run(app, args),
        Command::Ps(args) => ps::run(app, args).await,
        Command::Logs(args) => logs::run(app, args).await,
        Command::Events(args) => events::run(app, args).await,
        Command::Exec(args) => exec::run(app, args).await,
        Command::Url(args) => url::run(app, args).await,
        Command::Env(args) => env::run(app, args).await,
        Command::Kill(args) => verbs::run(app, Verb::Kill, args).await,
        Command::Term(args) => verbs::run(app, Verb::Term, args).await,
        Command::Stop(args) => verbs::run(app, Verb::Stop, args).await,
        Command::Start(args) => verbs::run(app, Verb::Start, args).await,
        Command::Restart(args) => verbs::run(app, Verb::Restart, args).await,
        Command::Pause(args) => verbs::run(app, Verb::Pause, args).await,
        Command::Resume(args) => verbs::run(app, Verb::Resume, args).await,
        Command::Wait(args) => wait::run(app, args).await,
        Command::Probe(args) => probe::run(app, args).await,
        Command::Eventually(args) => eventually::run(app, args).await,
        Command::Always(args) => always::run(app, args).await,
        Command::Bundle(args) => bundle::run(app, args).await,
        Command::Init(args) => init::run(app, args),
        Command::Check(args) => check::run(app, args),
        Command::Plan(args) => plan::run(app, args),
        Command::Graph(args) => graph::run(app, args),
        Command::Recipes(args) => recipes::run(app, args),
        Command::Schema(args) => schema::run(app, args),
        Command::Completions(args) => completions::run(app, args),
        Command::Doctor(args) => doctor::run(app, args),
        Command::Clean(args) => clean::run(app, args),
        Command::Run(_) | Command::Test(_) | Command::Host(_) | Command::Warden { .. } => {
            unreachable!("they are run above")
        }
    }
}
