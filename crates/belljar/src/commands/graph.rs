//! `graph`: the picture of a stack.

use std::path::PathBuf;

use belljar_model::{ErrorCode, ExitCode};
use belljar_report::graph::Graph;
use serde_json::json;

use super::stack_args::StackArgs;
use crate::app::App;
use crate::error::{CliError, Result};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  belljar graph -o stack.svg")]
pub(crate) struct Args {
    /// The stack file or its directory
    #[arg(value_name = "STACK")]
    stack: Option<PathBuf>,
    #[command(flatten)]
    file: StackArgs,
    /// How it is written [default: what the output file's name ends in, else svg]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A picture, for browsers and documents, light and dark
    Svg,
    /// Source for Graphviz
    Dot,
}

pub(crate) fn run(app: &App, args: &Args) -> Result<ExitCode> {
    // No server has to be installed for a picture.
    let (_, stack) = args.file.load(app, args.stack.as_ref())?;
    let graph = Graph::of(&stack.outline());
    let (format, text) = match args.format() {
        Format::Svg => ("svg", graph.to_svg()),
        Format::Dot => ("dot", graph.to_dot()),
    };
    if let Some(output) = &args.output {
        fs_err::write(app.cwd.join(output), &text)
            .map_err(|error| CliError::of(ErrorCode::OutputFailed, &error))?;
    }
    if app.printer.json {
        app.printer.document(&json!({"stack": stack.name(), "format": format, "graph": text}))?;
    } else if args.output.is_none() {
        app.printer.out(&text)?;
    }
    Ok(ExitCode::OK)
}

impl Args {
    fn format(&self) -> Format {
        let ending = self.output.as_ref().and_then(|path| path.extension()).and_then(|one| one.to_str());
        self.format.unwrap_or(match ending {
            Some("dot" | "gv") => Format::Dot,
            _ => Format::Svg,
        })
    }
}
