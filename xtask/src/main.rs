//! The repository's own chores: files that are generated from the code, documents whose commands are run, and
//! rules that no compiler knows. `cargo xtask help` lists them.

mod docs_run;
mod generate;
mod markdown;
mod recipes;
mod repository;
mod tidy;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Chores of this repository")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Write the files that are generated from the code
    Gen {
        /// Write nothing; fail where a file is not what would be written
        #[arg(long)]
        check: bool,
    },
    /// Run the commands of the documents
    ///
    /// A fenced block with `<!-- run -->` on the line above it is run by bash, in a directory that the blocks of
    /// its page share and that is empty at first; belljar is on its PATH. One with `<!-- file: NAME -->` above it
    /// is written to that file there before the next block runs. `<!-- copy: DIR -->` on a line of its own copies
    /// a directory of this repository there, under its last name.
    DocsRun {
        /// Only these pages
        pages: Vec<String>,
    },
    /// Check the rules that no compiler knows
    Tidy,
}

fn main() -> ExitCode {
    let faults = match Cli::parse().chore {
        Chore::Gen { check } => generate::run(check),
        Chore::DocsRun { pages } => docs_run::run(&pages),
        Chore::Tidy => tidy::run(),
    };
    let mut stderr = std::io::stderr().lock();
    for fault in &faults {
        // Nobody is left to tell if standard error is gone.
        let _ = writeln!(stderr, "{fault}");
    }
    ExitCode::from(u8::from(!faults.is_empty()))
}
