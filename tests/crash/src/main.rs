//! What belljar must survive: its own death at any moment, calls that fail, full disks, jumping clocks, power cuts,
//! and a crowd. A program of its own, run by `./x test` as root and as an ordinary user.

mod calls;
mod crowd;
mod matrix;
mod moment;
mod rough;
mod scene;
mod trace;

use std::any::Any;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

#[derive(Debug, clap::Parser)]
enum Cli {
    /// Kill our processes, or let their calls fail, at drawn moments
    Matrix(matrix::Args),
    /// Hosts that stand still, clocks that jump, full disks, power cuts
    Rough(rough::Args),
    /// Many command lines at once over one state directory
    Crowd(crowd::Args),
    #[command(hide = true)]
    Trace {
        order: String,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

fn main() -> ExitCode {
    let well = match Cli::parse() {
        Cli::Trace { order, command } => {
            let order = serde_json::from_str(&order).expect("it is written by ourselves");
            match trace::run(order, &command) {
                Ok(()) => true,
                Err(error) => {
                    let _ = writeln!(std::io::stderr(), "tracer: {error}");
                    false
                }
            }
        }
        _ if belljar_e2e::lacks_sealing() => true,
        Cli::Matrix(args) => matrix::run(&args),
        Cli::Rough(args) => rough::run(&args),
        Cli::Crowd(args) => crowd::run(&args),
    };
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One line of the program's own output.
fn say(line: &str) {
    // Nobody can be told that nobody can be told.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// A seed for whoever gave none.
fn fresh_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    now.as_secs() ^ u64::from(now.subsec_nanos())
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned())).unwrap_or_default()
}
