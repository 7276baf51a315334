//! `recipes`: what `use = "…"` can name.

use belljar_model::ExitCode;
use belljar_stack::{Recipe, RecipeBook};
use serde_json::json;

use crate::app::App;
use crate::error::Result;
use crate::printer::table;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  belljar recipes")]
pub(crate) struct Args {}

pub(crate) fn run(app: &App, _: &Args) -> Result<ExitCode> {
    let dir = belljar_stack::locate(&app.cwd).and_then(|file| file.parent().map(std::path::Path::to_owned));
    let book = match dir {
        Some(dir) => RecipeBook::with_dir(&dir)?,
        None => RecipeBook::builtin(),
    };
    if app.printer.json {
        let recipes: Vec<_> = book
            .iter()
            .map(|one| json!({"name": one.name, "summary": one.summary, "parameters": parameters(one)}))
            .collect();
        app.printer.document(&json!({ "recipes": recipes }))?;
        return Ok(ExitCode::OK);
    }
    let rows: Vec<Vec<String>> = book
        .iter()
        .map(|one| vec![one.name.clone(), parameters(one).join(", "), one.summary.clone()])
        .collect();
    app.printer.out(&table(&["RECIPE", "PARAMETERS", "WHAT IT IS"], &rows))?;
    Ok(ExitCode::OK)
}

fn parameters(recipe: &Recipe) -> Vec<String> {
    recipe.parameters.iter().map(|one| one.name.clone()).collect()
}
