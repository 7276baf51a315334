//! `doctor`: what this machine can do, tried for real.

use std::fmt::Write as _;

use belljar_model::ExitCode;
use belljar_stack::RecipeBook;
use serde_json::json;

use crate::app::App;
use crate::error::Result;
use crate::hosting;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  belljar doctor")]
pub(crate) struct Args {}

pub(crate) fn run(app: &App, _: &Args) -> Result<ExitCode> {
    let capabilities = belljar_sandbox::probe();
    let state = app.store().map(|_| ());
    let book = RecipeBook::builtin();
    let programs = hosting::programs(app);
    let servers: Vec<(String, String, bool, String)> = book
        .iter()
        .flat_map(|recipe| recipe.programs.iter().map(move |program| (recipe, program)))
        .map(|(recipe, program)| {
            let found = recipe.finds(program, &programs);
            let package = program.package.clone().unwrap_or_else(|| "unknown".to_owned());
            (recipe.name.clone(), program.name.clone(), found, package)
        })
        .collect();
    if app.printer.json {
        let capabilities: Vec<_> = capabilities
            .iter()
            .map(|one| json!({"name": one.name, "works": one.works, "why": one.why, "cost": one.cost}))
            .collect();
        let servers: Vec<_> = servers
            .iter()
            .map(|(recipe, program, found, package)| {
                json!({"recipe": recipe, "program": program, "found": found, "package": package})
            })
            .collect();
        app.printer.document(&json!({
            "capabilities": capabilities, "servers": servers,
            "state_dir": {"path": app.state_dir, "works": state.is_ok()},
        }))?;
        return Ok(ExitCode::OK);
    }
    let mut text = String::from("sealed sessions\n");
    for one in &capabilities {
        if one.works {
            let _ = writeln!(text, "  ok    {}", one.name);
        } else {
            let why = one.why.as_deref().unwrap_or("refused");
            let _ = writeln!(text, "  LACK  {}: {why}\n        without it: {}", one.name, one.cost);
        }
    }
    let _ = writeln!(text, "\nstate directory");
    match &state {
        Ok(()) => drop(writeln!(text, "  ok    {}", app.state_dir.display())),
        Err(_) => drop(writeln!(text, "  LACK  {} cannot be used", app.state_dir.display())),
    }
    let _ = writeln!(text, "\nservers of recipes");
    for (recipe, program, found, package) in &servers {
        if *found {
            let _ = writeln!(text, "  ok    {recipe}: {program}");
        } else {
            let _ = writeln!(text, "  LACK  {recipe}: {program} (Debian package {package})");
        }
    }
    app.printer.out(&text)?;
    Ok(ExitCode::OK)
}
