//! `recipes`: what `use = "…"` can name, one of them whole, and one as a file of your own.

use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use belljar_model::{ErrorCode, ExitCode};
use belljar_stack::{HostPrograms, Origin, Parameter, Program, Recipe, RecipeBook, SourceFile, locate};
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::error::{CliError, Result};
use crate::printer::table;
use crate::{hosting, packages};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  belljar recipes\n  belljar recipes show postgres")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show one whole: parameters, ports, outputs, programs and an example
    #[command(after_help = "Example:\n  belljar recipes show postgres")]
    Show {
        /// Its name
        recipe: String,
    },
    /// Write one as recipes/NAME.toml beside the stack file, to make it your own
    #[command(after_help = "Example:\n  belljar recipes eject postgres")]
    Eject {
        /// Its name
        recipe: String,
    },
}

pub(crate) fn run(app: &App, args: &Args) -> Result<ExitCode> {
    let shelf = Shelf::of(app)?;
    match &args.action {
        None => shelf.list(app)?,
        Some(Action::Show { recipe }) => shelf.show(app, shelf.get(recipe)?)?,
        Some(Action::Eject { recipe }) => shelf.eject(app, shelf.get(recipe)?)?,
    }
    Ok(ExitCode::OK)
}

/// The recipes that can be used here, and the machine that they would run on.
struct Shelf {
    /// The directory of the stack file; the working directory where there is none.
    dir: PathBuf,
    book: RecipeBook,
    programs: HostPrograms,
}

impl Shelf {
    fn of(app: &App) -> Result<Self> {
        let programs = hosting::programs(app);
        let Some(path) = locate(&app.cwd) else {
            return Ok(Self { dir: app.cwd.clone(), book: RecipeBook::builtin(), programs });
        };
        let dir = path.parent().unwrap_or(Path::new("/")).to_owned();
        let text = fs_err::read_to_string(&path).map_err(|error| {
            CliError::new(ErrorCode::StackNotFound, format!("cannot read the stack file: {error}"))
        })?;
        let book = RecipeBook::with_dir(&dir)?.with_stack_file(&SourceFile { path, text })?;
        Ok(Self { dir, book, programs })
    }

    fn get(&self, name: &str) -> Result<&Recipe> {
        self.book.get(name).ok_or_else(|| {
            let error = CliError::new(ErrorCode::RecipeNotFound, format!("there is no recipe `{name}`"));
            self.book.suggestion(name).into_iter().fold(error, CliError::hint)
        })
    }

    fn list(&self, app: &App) -> Result<()> {
        if app.printer.json {
            let recipes: Vec<_> = self
                .book
                .iter()
                .map(|one| {
                    let parameters: Vec<_> = one.parameters.iter().map(|one| &one.name).collect();
                    let missing: Vec<_> = self.missing(one).map(|one| &one.name).collect();
                    json!({
                        "name": one.name, "summary": one.summary, "parameters": parameters,
                        "from": from(one), "file": file(one), "installed": missing.is_empty(), "missing": missing,
                    })
                })
                .collect();
            return app.printer.document(&json!({ "recipes": recipes }));
        }
        let rows: Vec<Vec<String>> = self
            .book
            .iter()
            .map(|one| vec![one.name.clone(), self.shown_from(one), self.here(one), one.summary.clone()])
            .collect();
        app.printer.out(&table(&["RECIPE", "FROM", "HERE", "WHAT IT IS"], &rows))
    }

    /// `yes`, or what would install the first server that is missing.
    fn here(&self, recipe: &Recipe) -> String {
        match self.missing(recipe).next() {
            None => "yes".to_owned(),
            Some(program) => match packages::installs(&program.packages).into_iter().next() {
                Some(install) => format!("no: {install}"),
                None => format!("no {}", program.name),
            },
        }
    }

    fn missing<'a>(&'a self, recipe: &'a Recipe) -> impl Iterator<Item = &'a Program> {
        recipe.programs.iter().filter(|program| self.find(recipe, program).is_none())
    }

    fn find(&self, recipe: &Recipe, program: &Program) -> Option<PathBuf> {
        recipe.find(program, &self.dir, &self.programs)
    }

    fn shown_from(&self, recipe: &Recipe) -> String {
        let path = &recipe.source.path;
        match recipe.origin {
            Origin::Builtin => "belljar".to_owned(),
            Origin::File | Origin::StackFile => {
                path.strip_prefix(&self.dir).unwrap_or(path).display().to_string()
            }
        }
    }

    fn show(&self, app: &App, recipe: &Recipe) -> Result<()> {
        if app.printer.json {
            return app.printer.document(&self.document(recipe));
        }
        let mut text = format!("{}: {}\n", recipe.name, recipe.summary);
        let _ = writeln!(text, "from {}", self.shown_from(recipe));
        if let Some(notes) = &recipe.notes {
            let _ = writeln!(text, "\n{}", notes.trim());
        }
        if !recipe.parameters.is_empty() {
            let rows: Vec<_> = recipe.parameters.iter().map(parameter_row).collect();
            let _ =
                write!(text, "\n{}", table(&["PARAMETER", "TYPE", "DEFAULT", "MEANING", "PATTERN"], &rows));
        }
        let ports: Vec<_> =
            recipe.ports().map(|(name, port)| vec![name.to_owned(), port.to_string()]).collect();
        if !ports.is_empty() {
            let _ = write!(text, "\n{}", table(&["PORT", "NUMBER"], &ports));
        }
        let outputs: Vec<_> =
            recipe.outputs.iter().map(|one| vec![one.name.clone(), one.text.clone()]).collect();
        if !outputs.is_empty() {
            let _ = write!(text, "\n{}", table(&["OUTPUT", "VALUE"], &outputs));
        }
        let programs: Vec<_> = recipe
            .programs
            .iter()
            .map(|program| {
                let found = match self.find(recipe, program) {
                    Some(path) => path.display().to_string(),
                    None => format!("not here: {}", packages::installs(&program.packages).join(", or ")),
                };
                vec![program.name.clone(), found]
            })
            .collect();
        if !programs.is_empty() {
            let _ = write!(text, "\n{}", table(&["PROGRAM", "WHERE"], &programs));
        }
        let _ = write!(text, "\nexample\n");
        for line in recipe.example.trim().lines() {
            let _ = writeln!(text, "{}", format!("  {line}").trim_end());
        }
        app.printer.out(&text)
    }

    fn document(&self, recipe: &Recipe) -> Value {
        let parameters: Vec<_> = recipe
            .parameters
            .iter()
            .map(|one| {
                json!({
                    "name": one.name, "type": one.kind.as_str(), "default": one.default,
                    "pattern": one.pattern, "doc": one.doc,
                })
            })
            .collect();
        let programs: Vec<_> = recipe
            .programs
            .iter()
            .map(|one| {
                let packages =
                    one.packages.iter().map(|one| (one.manager.as_str().to_owned(), json!(one.name)));
                json!({
                    "name": one.name, "found": self.find(recipe, one),
                    "packages": packages.collect::<Map<_, _>>(),
                })
            })
            .collect();
        let ports: Map<_, _> = recipe.ports().map(|(name, port)| (name.to_owned(), json!(port))).collect();
        let outputs: Map<_, _> =
            recipe.outputs.iter().map(|one| (one.name.clone(), json!(one.text))).collect();
        json!({
            "name": recipe.name, "summary": recipe.summary, "notes": recipe.notes,
            "from": from(recipe), "file": file(recipe), "replicas": recipe.replicas(),
            "parameters": parameters, "ports": ports, "outputs": outputs, "programs": programs,
            "example": recipe.example, "text": recipe.source.text,
        })
    }

    fn eject(&self, app: &App, recipe: &Recipe) -> Result<()> {
        let name = &recipe.name;
        let path = self.dir.join("recipes").join(format!("{name}.toml"));
        let exists = |shown: String| {
            let message = format!("the recipe `{name}` is your own already: {shown}");
            CliError::new(ErrorCode::RecipeExists, message)
        };
        if recipe.origin != Origin::Builtin {
            return Err(exists(recipe.source.path.display().to_string()));
        }
        let shown = path.display().to_string();
        let failed = |error: std::io::Error| match error.kind() {
            ErrorKind::AlreadyExists => exists(shown.clone()),
            _ => CliError::new(ErrorCode::Unsupported, format!("cannot write {shown}: {error}")),
        };
        fs_err::create_dir_all(self.dir.join("recipes")).map_err(failed)?;
        // What is there already stays, whoever wrote it in this very moment.
        let file = fs_err::OpenOptions::new().write(true).create_new(true).open(&path);
        file.and_then(|mut file| file.write_all(recipe.source.text.as_bytes())).map_err(failed)?;
        if app.printer.json {
            return app.printer.document(&json!({ "name": name, "file": path }));
        }
        app.printer.out(&format!("{shown} is the recipe `{name}` from now on\n"))
    }
}

fn parameter_row(one: &Parameter) -> Vec<String> {
    let default = match &one.default {
        None => "(needed)".to_owned(),
        Some(default) => default.clone(),
    };
    let pattern = one.pattern.clone().unwrap_or_default();
    vec![one.name.clone(), one.kind.as_str().to_owned(), default, one.doc.clone(), pattern]
}

fn from(recipe: &Recipe) -> &'static str {
    match recipe.origin {
        Origin::Builtin => "belljar",
        Origin::File => "file",
        Origin::StackFile => "stack",
    }
}

/// The file that it stands in, where it is one of yours.
fn file(recipe: &Recipe) -> Option<&Path> {
    (recipe.origin != Origin::Builtin).then_some(recipe.source.path.as_path())
}
