//! A small replicated application: the system under test of the pods story.
//!
//! Every replica (a *pod*) answers HTTP, knows who asks by a cookie or an API key kept in PostgreSQL, and works on
//! streams of numbered chunks that go through JetStream. When a pod dies, the others finish its work: nothing is
//! lost and nothing is done twice. The files, in the order in which a reader wants them:
//!
//! - `serve`: a pod's life, from connecting to handing its work over.
//! - `http`: the routes.
//! - `auth`: sessions, API keys, and the cache that forgets a revoked one.
//! - `work`, `job`: streams: who works on them, take-over and fencing; what comes after what.
//! - `attach`: following a stream from any pod.
//! - `heartbeat`: which pods are alive.
//! - `bus`, `db`: the two servers, each lost and found again.
//! - `migrate`: the database's shape.

mod attach;
mod auth;
mod bus;
mod db;
mod heartbeat;
mod http;
mod job;
mod log;
mod migrate;
mod serve;
mod work;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::log::{chain, say};

#[derive(Debug, Parser)]
#[command(version, about)]
struct Args {
    #[command(subcommand)]
    command: Command,
    /// Where PostgreSQL is.
    #[arg(long, env, global = true, default_value = "postgresql://postgres@localhost/pods")]
    database_url: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring the database to the newest shape
    Migrate {
        /// The directory with the `*.sql` files, applied in the order of their names.
        #[arg(default_value = "migrations")]
        dir: PathBuf,
    },
    /// Run a pod until SIGTERM
    Serve {
        /// The address to answer HTTP on.
        #[arg(long, default_value = "127.0.0.1:8080")]
        listen: SocketAddr,
        /// Where NATS is.
        #[arg(long, env, default_value = "nats://localhost")]
        nats_url: String,
        /// The name that other pods know this one by.
        #[arg(long, env)]
        pod_name: String,
    },
}

// One thread is plenty for a pod; the work is all waiting.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    let result = match args.command {
        Command::Migrate { dir } => migrate::run(&args.database_url, &dir).await.map_err(Into::into),
        Command::Serve { listen, nats_url, pod_name } => {
            serve::run(serve::Options { listen, database_url: args.database_url, nats_url, pod_name }).await
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say!("podapp: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}
