//! The reference page of the recipes that belljar brings, out of their files.

use std::fmt::Write as _;

use belljar_stack::{Parameter, Recipe, RecipeBook};

const HEAD: &str = "# Recipes

A recipe is a service that somebody else has described: how a server is set up, started, known to be ready and stopped,
and by which address it is reached. A stack file uses it by name:

```toml
[service.db]
use = \"postgres\"
with = { database = \"shop\" }
```

`belljar recipes` lists them, `belljar recipes show NAME` tells what is on this page and where the programs are on your
machine. The servers themselves are not part of belljar: a recipe runs what is installed, and where it is not, the error
names the package that has it on your system. Every replica has an address of its own, with the usual ports, and every
session starts with empty data, which lasts as long as the session: a replica that was killed finds it again.

How to write a recipe, or to change one of these: [Writing a recipe](../guide/recipes.md).
";

pub(crate) fn page(notice: &str) -> String {
    let book = RecipeBook::builtin();
    let mut page = format!("{notice}\n\n{HEAD}\n| recipe | what it is |\n| --- | --- |\n");
    for recipe in book.iter() {
        let _ = writeln!(page, "| [{0}](#{0}) | {1} |", recipe.name, cell(&recipe.summary));
    }
    for recipe in book.iter() {
        section(&mut page, recipe);
    }
    page
}

fn section(page: &mut String, recipe: &Recipe) {
    let _ = write!(page, "\n## {}\n\n{}.\n", recipe.name, recipe.summary);
    if let Some(notes) = &recipe.notes {
        let _ = write!(page, "\n{}\n", notes.trim());
    }
    let _ = write!(page, "\n```toml\n{}\n```\n", recipe.example.trim());
    if !recipe.parameters.is_empty() {
        let _ = write!(page, "\n| parameter | type | default | meaning |\n| --- | --- | --- | --- |\n");
        for one in &recipe.parameters {
            let _ = writeln!(
                page,
                "| `{}` | {} | {} | {}{} |",
                one.name,
                one.kind.as_str(),
                default(one),
                cell(&one.doc),
                one.pattern.as_ref().map(|one| format!(" (`{}`)", cell(one))).unwrap_or_default()
            );
        }
    }
    let ports: Vec<_> = recipe.ports().map(|(name, port)| format!("`{name}` ({port})")).collect();
    let _ = write!(page, "\n- Ports: {}\n", ports.join(", "));
    let outputs: Vec<_> =
        recipe.outputs.iter().map(|one| format!("`{}` (`{}`)", one.name, one.text)).collect();
    let _ = writeln!(page, "- Outputs: {}", outputs.join(", "));
    if recipe.replicas() > 1 {
        let _ = writeln!(page, "- Replicas: {}, unless the stack says otherwise", recipe.replicas());
    }
    for program in &recipe.programs {
        let packages: Vec<_> =
            program.packages.iter().map(|one| format!("{} `{}`", one.manager.as_str(), one.name)).collect();
        let _ = writeln!(page, "- Needs `{}`: {}", program.name, packages.join(", "));
    }
}

fn default(parameter: &Parameter) -> String {
    match &parameter.default {
        None => "needed".to_owned(),
        Some(text) if text.is_empty() => String::new(),
        Some(text) => format!("`{}`", cell(text)),
    }
}

/// As it can stand in a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_has_its_section_and_its_row() {
        let page = page("");
        for recipe in RecipeBook::builtin().iter() {
            assert!(page.contains(&format!("\n## {}\n", recipe.name)), "{}", recipe.name);
            for one in &recipe.parameters {
                assert!(
                    page.contains(&format!("\n| `{}` | {} |", one.name, one.kind.as_str())),
                    "{}",
                    one.name
                );
            }
        }
    }
}
