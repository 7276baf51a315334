//! `test`.
use std::sync::Arc;

use belljar_model::ExitCode;
use belljar_sandbox::Zygote;

use crate::app::App;
use crate::error::Result;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

impl Args {
    pub(crate) fn only_lists(&self) -> bool {
        false
    }
}

pub(crate) async fn run(_: &App, _: Option<Arc<Zygote>>, _: &Args) -> Result<ExitCode> {
    Ok(ExitCode::OK)
}
