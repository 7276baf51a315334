//! `doctor`: what this machine can do, tried for real.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use belljar_model::ExitCode;
use belljar_stack::{Package, RecipeBook};
use serde_json::json;

use crate::app::App;
use crate::error::Result;
use crate::{hosting, packages};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  belljar doctor")]
pub(crate) struct Args {}

pub(crate) fn run(app: &App, _: &Args) -> Result<ExitCode> {
    let capabilities = belljar_sandbox::probe();
    let state = app.store().map(|_| ());
    let book = RecipeBook::builtin();
    let programs = hosting::programs(app);
    let servers: Vec<(String, String, bool, Vec<Package>)> = book
        .iter()
        .flat_map(|recipe| recipe.programs.iter().map(move |program| (recipe, program)))
        .map(|(recipe, program)| {
            let found = recipe.find(program, &app.cwd, &programs).is_some();
            (recipe.name.clone(), program.name.clone(), found, program.packages.clone())
        })
        .collect();
    if app.printer.json {
        let capabilities: Vec<_> = capabilities
            .iter()
            .map(|one| json!({"name": one.name, "works": one.works, "why": one.why, "cost": one.cost}))
            .collect();
        let servers: Vec<_> = servers
            .iter()
            .map(|(recipe, program, found, packages)| {
                let packages = packages.iter().map(|one| (one.manager.as_str(), one.name.as_str()));
                let packages: BTreeMap<_, _> = packages.collect();
                // `package` is Debian's, as ever.
                json!({
                    "recipe": recipe, "program": program, "found": found,
                    "package": packages.get("apt").unwrap_or(&"unknown"), "packages": packages,
                })
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
    for (recipe, program, found, packages) in &servers {
        if *found {
            let _ = writeln!(text, "  ok    {recipe}: {program}");
        } else {
            let install = match &packages::installs(packages)[..] {
                [] => String::new(),
                commands => format!(" (`{}`)", commands.join("` or `")),
            };
            let _ = writeln!(text, "  LACK  {recipe}: {program}{install}");
        }
    }
    app.printer.out(&text)?;
    Ok(ExitCode::OK)
}
