//! `schema`: the JSON Schema of stack files.

use belljar_model::ExitCode;

use crate::app::App;
use crate::error::Result;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  belljar schema > belljar.schema.json")]
pub(crate) struct Args {}

pub(crate) fn run(app: &App, _: &Args) -> Result<ExitCode> {
    app.printer.document(&belljar_stack::schema())?;
    Ok(ExitCode::OK)
}
