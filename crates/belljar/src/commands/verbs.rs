//! `kill`, `term`, `stop`, `start`, `restart`, `pause`, `resume`.

use belljar_client::wire::Verb;
use belljar_model::ExitCode;

use crate::app::App;
use crate::error::Result;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Replicas, or services for all of their replicas
    #[arg(required = true, value_name = "REPLICA")]
    targets: Vec<String>,
}

/// Returns when it is true.
pub(crate) async fn run(app: &App, verb: Verb, args: &Args) -> Result<ExitCode> {
    let done = app.find()?.client.act(verb, &args.targets).await?;
    if app.printer.json {
        app.printer.document(&done)?;
    } else {
        for replica in &done.replicas {
            let already = if replica.changed { "" } else { " already" };
            app.printer.note(&format!("{} is {}{already}", replica.name, replica.state));
        }
    }
    Ok(ExitCode::OK)
}
