//! `probe`: a readiness check by hand, and why it does not hold.

use std::fmt::Write as _;

use belljar_client::wire::ProbeView;
use belljar_model::ExitCode;

use crate::app::App;
use crate::error::Result;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  belljar probe api-2")]
pub(crate) struct Args {
    /// A replica, or a service for each of its replicas
    #[arg(value_name = "SERVICE[-N]")]
    service: String,
}

/// Ends with 8 where a check does not hold: the answer stands on standard output all the same.
pub(crate) async fn run(app: &App, args: &Args) -> Result<ExitCode> {
    let answer = app.find()?.client.probe(&args.service).await?;
    if app.printer.json {
        app.printer.document(&answer)?;
    } else {
        let text: String = answer.probes.iter().map(|probe| told(app, probe)).collect();
        app.printer.out(&text)?;
    }
    let holds = answer.probes.iter().all(|probe| probe.holds);
    Ok(if holds { ExitCode::OK } else { ExitCode::TIMED_OUT })
}

fn told(app: &App, probe: &ProbeView) -> String {
    let state = app.printer.state(probe.state.as_str());
    let mut text = format!("{} is {state}\n", probe.replica);
    let verdict = if probe.holds { "holds" } else { "does not hold" };
    let _ = writeln!(text, "  {}: {verdict} ({:.1}ms)", probe.check, probe.took_ms);
    for line in probe.why.iter().chain(&probe.details) {
        let _ = writeln!(text, "  {line}");
    }
    text
}
