//! Recipes: service templates that live in TOML files. Those of belljar are compiled in; a stack's own lie in
//! `recipes/` beside its file and win over them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use belljar_model::{ServiceName, StackName};
use regex::Regex;
use toml::de::{DeTable, DeValue};

use crate::declare::{ServiceDecl, StackDecl, UsedRecipe};
use crate::fault::{Fault, Faults};
use crate::keys::Level;
use crate::near::suggestion;
use crate::plan::{Filesystem, Home, Limits};
use crate::planner::Planner;
use crate::read_service::Services;
use crate::reference::{Author, Template};
use crate::source::{Place, SourceFile, Text};
use crate::walk::{Entry, Node, Walk};

/// The recipes that a stack can use.
#[derive(Debug, Clone)]
pub struct RecipeBook {
    recipes: BTreeMap<String, Page>,
}

/// Where a recipe stands.
#[derive(Debug, Clone)]
enum Page {
    Own(Arc<Recipe>),
    Builtin(&'static Builtin),
}

impl Page {
    fn recipe(&self) -> &Arc<Recipe> {
        match self {
            Self::Own(recipe) => recipe,
            Self::Builtin(builtin) => builtin.recipe(),
        }
    }
}

/// A reusable service.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The name of its file, without `.toml`.
    pub name: String,
    pub summary: String,
    /// In the order of the file.
    pub parameters: Vec<Parameter>,
    pub programs: Vec<Program>,
    pub outputs: Vec<Output>,
    pub source: Arc<SourceFile>,
    pub(crate) service: ServiceDecl,
}

/// What can be said `with` a recipe.
#[derive(Debug, Clone)]
pub struct Parameter {
    pub name: String,
    pub kind: ParameterKind,
    /// What holds when it is not given; without one it has to be given.
    pub default: Option<String>,
    pub doc: String,
    /// A regular expression that the whole value has to match.
    pub pattern: Option<String>,
}

/// The type of a parameter's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterKind {
    String,
    Integer,
    Boolean,
}

/// A server program that a recipe needs.
#[derive(Debug, Clone)]
pub struct Program {
    pub name: String,
    /// Debian's package that has it.
    pub package: Option<String>,
    /// Globs of directories where it may lie besides the `PATH`.
    pub(crate) dirs: Vec<Template>,
    /// Where not empty, the one directory that is looked in.
    pub(crate) only: Option<Template>,
}

impl Recipe {
    /// Whether this machine has one of the recipe's programs, where no parameter is given.
    pub fn finds(&self, program: &Program, programs: &dyn crate::Programs) -> bool {
        let default = |name: &str| self.parameters.iter().find(|one| one.name == name)?.default.clone();
        let dirs: Vec<String> = program.dirs.iter().filter_map(|dir| dir.filled(default)).collect();
        programs.find(&program.name, &dirs).is_some()
    }
}

/// What a recipe's services tell others besides their names and ports: `${db.url}`.
#[derive(Debug, Clone)]
pub struct Output {
    pub name: String,
    /// As it is written, with references.
    pub text: String,
    pub(crate) template: Template,
}

/// A recipe that is compiled in. Reading one costs more than starting a small session, so it is read when somebody
/// first asks for it.
#[derive(Debug)]
struct Builtin {
    name: &'static str,
    path: &'static str,
    text: &'static str,
    read: OnceLock<Arc<Recipe>>,
}

static BUILTIN: [Builtin; 2] = [
    Builtin {
        name: "nats",
        path: "recipes/nats.toml",
        text: include_str!("../../../recipes/nats.toml"),
        read: OnceLock::new(),
    },
    Builtin {
        name: "postgres",
        path: "recipes/postgres.toml",
        text: include_str!("../../../recipes/postgres.toml"),
        read: OnceLock::new(),
    },
];

impl Builtin {
    fn recipe(&self) -> &Arc<Recipe> {
        self.read.get_or_init(|| {
            let source = SourceFile { path: PathBuf::from(self.path), text: self.text.to_owned() };
            Recipe::parse(&Arc::new(source)).expect("a test reads every recipe that is compiled in")
        })
    }
}

impl RecipeBook {
    /// The recipes that belljar brings.
    pub fn builtin() -> Self {
        let page = |builtin: &'static Builtin| (builtin.name.to_owned(), Page::Builtin(builtin));
        Self { recipes: BUILTIN.iter().map(page).collect() }
    }

    /// The recipes that belljar brings and every `recipes/*.toml` in `dir`, the directory of a stack file.
    pub fn with_dir(dir: &Path) -> Result<Self, Faults> {
        let mut book = Self::builtin();
        let recipes = dir.join("recipes");
        if !recipes.is_dir() {
            return Ok(book);
        }
        let mut faults = Faults::default();
        match toml_files(&recipes) {
            Ok(files) => {
                for path in files {
                    match fs_err::read_to_string(&path) {
                        Ok(text) => {
                            if let Err(found) = book.add(SourceFile { path, text }) {
                                faults.extend(found);
                            }
                        }
                        Err(error) => faults.push(unreadable(&path, &error)),
                    }
                }
            }
            Err(error) => faults.push(unreadable(&recipes, &error)),
        }
        faults.or(book)
    }

    /// In the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Recipe> + Clone {
        self.recipes.values().map(|page| page.recipe().as_ref())
    }

    pub fn get(&self, name: &str) -> Option<&Recipe> {
        self.find(name).map(AsRef::as_ref)
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Arc<Recipe>> {
        self.recipes.get(name).map(Page::recipe)
    }

    /// Reads one recipe, checks it whole and takes it in, in place of one of the same name. A recipe is called
    /// as its file is, without `.toml`.
    pub fn add(&mut self, source: SourceFile) -> Result<(), Faults> {
        let recipe = Recipe::parse(&Arc::new(source))?;
        self.recipes.insert(recipe.name.clone(), Page::Own(recipe));
        Ok(())
    }
}

fn toml_files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs_err::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Fault {
    let source = Arc::new(SourceFile { path: path.to_path_buf(), text: String::new() });
    Fault::new(&Place::new(&source, 0..0), "this cannot be read", error.to_string())
}

impl Recipe {
    fn parse(source: &Arc<SourceFile>) -> Result<Arc<Self>, Faults> {
        let mut walk = Walk::new(source);
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        walk.syntax(&errors);
        if !walk.faults.is_empty() {
            return Err(walk.faults.in_order());
        }
        let top = walk.entries(table.get_ref());
        let recipe = walk.recipe(&top);
        let recipe = walk.faults.or(recipe)?.expect("a recipe that could not be read has a fault");
        let recipe = Arc::new(recipe);
        recipe.check()?;
        Ok(recipe)
    }

    /// Plans a stack of this recipe alone, so that every reference of it is looked up once.
    fn check(self: &Arc<Self>) -> Result<(), Faults> {
        let parameters = self.parameters.iter().map(|one| {
            let value = one.default.clone().unwrap_or_else(|| one.kind.example().to_owned());
            (one.name.clone(), value)
        });
        let used = UsedRecipe { recipe: Arc::clone(self), parameters: parameters.collect() };
        let stack = StackDecl {
            name: StackName::new("recipe").expect("it keeps the rule"),
            dir: PathBuf::from("/"),
            filesystem: Filesystem::Host,
            home: Home::Host,
            limits: Limits::default(),
            env: Vec::new(),
            inherit_env: Vec::new(),
            services: vec![ServiceDecl { recipe: Some(used), ..self.service.clone() }],
            tasks: Vec::new(),
            suites: Vec::new(),
        };
        Planner::check(&stack).or(())
    }
}

impl ParameterKind {
    const ALL: &'static [(&'static str, Self)] =
        &[("string", Self::String), ("integer", Self::Integer), ("boolean", Self::Boolean)];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
        }
    }

    fn example(self) -> &'static str {
        match self {
            Self::String => "text",
            Self::Integer => "1",
            Self::Boolean => "true",
        }
    }
}

impl Walk {
    fn recipe(&mut self, top: &crate::walk::Entries<'_>) -> Option<Recipe> {
        self.check_keys(top, Level::Recipe);
        let name =
            self.source.path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let start = self.place(0..0);
        let service_name = ServiceName::new(name.as_str()).ok();
        if service_name.is_none() {
            self.fault(&start, format!("`{name}` is not the name of a recipe"), ServiceName::RULE);
        }
        let summary =
            top.get("summary").and_then(|node| self.string(node, "a string: what it is, in one line"));
        if top.get("summary").is_none() {
            self.fault(&start, "a recipe without a summary", "expected `summary`, one line");
        }
        let parameters = self.named(top.get("parameters"), "parameter", Self::parameter);
        let programs = self.named(top.get("programs"), "program", Self::program);
        let outputs = self.named(top.get("outputs"), "output", |walk, entry| {
            let text = walk.string(&entry.value, "a string")?;
            let template = Template::parse(&text, Author::Recipe, &mut walk.faults);
            Some(Output { name: entry.key.value.clone(), text: text.value, template })
        });
        let Some(service) = top.entry("service") else {
            self.fault(&start, "a recipe without a service", "expected `[service]`");
            return None;
        };
        let service = self.service(service_name?, service, Services::OfRecipe)?;
        for (parameter, _) in &service.flags {
            if !parameters.iter().any(|one| one.name == parameter.value) {
                let names = parameters.iter().map(|one| one.name.as_str());
                self.faults.push(
                    Fault::new(
                        &parameter.place,
                        format!("there is no parameter `{}`", parameter.value),
                        "flags are named after a parameter",
                    )
                    .with_maybe_help(suggestion(&parameter.value, "parameters", names)),
                );
            }
        }
        Some(Recipe {
            name,
            summary: summary?.value,
            parameters,
            programs,
            outputs,
            source: Arc::clone(&self.source),
            service,
        })
    }

    fn parameter(&mut self, entry: &Entry<'_>) -> Option<Parameter> {
        let level = Level::Parameter;
        let table = self.keyed_table(&entry.value, level, "a table, as in `[parameters.NAME]`")?;
        let kind = match table.get("type") {
            Some(node) => self.choice(level, "type", node, ParameterKind::ALL)?,
            None => ParameterKind::String,
        };
        let pattern = table.get("pattern").and_then(|node| self.regex(node)).filter(|text| {
            let fits = whole(&text.value).is_ok();
            if !fits {
                self.fault(&text.place, "this pattern cannot be anchored", "expected no open comment in it");
            }
            fits
        });
        let doc = table.get("doc").and_then(|node| self.string(node, "a string: what it does"));
        if table.get("doc").is_none() {
            self.fault(&entry.key.place, "a parameter that is not described", "expected `doc`, one sentence");
        }
        let mut parameter = Parameter {
            name: entry.key.value.clone(),
            kind,
            default: None,
            doc: doc?.value,
            pattern: pattern.map(|text| text.value),
        };
        parameter.default = table.get("default").and_then(|node| self.parameter_value(&parameter, node));
        Some(parameter)
    }

    fn program(&mut self, entry: &Entry<'_>) -> Option<Program> {
        let table = self.keyed_table(&entry.value, Level::Program, "a table, as in `[programs.NAME]`")?;
        let dirs =
            table.get("dirs").and_then(|node| self.strings(node, "a list of strings: globs of directories"));
        let dirs = dirs.unwrap_or_default();
        let only = table.get("only").and_then(|node| self.string(node, "a string: a directory"));
        let package = table.get("package").and_then(|node| self.string(node, "a string: the package's name"));
        Some(Program {
            name: entry.key.value.clone(),
            package: package.map(|text| text.value),
            dirs: dirs.iter().map(|dir| Template::parse(dir, Author::Recipe, &mut self.faults)).collect(),
            only: only.map(|dir| Template::parse(&dir, Author::Recipe, &mut self.faults)),
        })
    }

    /// The values of a recipe's parameters, out of what is `given` and the defaults.
    pub(crate) fn parameters(
        &mut self,
        recipe: &Recipe,
        name: &Text,
        given: &[Entry<'_>],
    ) -> BTreeMap<String, String> {
        for Entry { key, .. } in given {
            if !recipe.parameters.iter().any(|one| one.name == key.value) {
                let names = recipe.parameters.iter().map(|one| one.name.as_str());
                let message = format!("the recipe `{}` has no parameter `{}`", recipe.name, key.value);
                self.faults.push(
                    Fault::new(&key.place, message, "this parameter is unknown").with_maybe_help(suggestion(
                        &key.value,
                        "its parameters",
                        names,
                    )),
                );
            }
        }
        let mut values = BTreeMap::new();
        for parameter in &recipe.parameters {
            let given = given.iter().find(|entry| entry.key.value == parameter.name);
            let value = match given {
                Some(entry) => self.parameter_value(parameter, &entry.value),
                None => parameter.default.clone().or_else(|| {
                    let message = format!("the recipe `{}` needs `{}`", recipe.name, parameter.name);
                    let help = format!("write `with = {{ {} = … }}`: {}", parameter.name, parameter.doc);
                    self.faults
                        .push(Fault::new(&name.place, message, "this parameter is missing").with_help(help));
                    None
                }),
            };
            // A value that is at fault gives way to an example, so that the rest is checked with something.
            let value = value.unwrap_or_else(|| parameter.kind.example().to_owned());
            values.insert(parameter.name.clone(), value);
        }
        values
    }

    fn parameter_value(&mut self, parameter: &Parameter, node: &Node<'_>) -> Option<String> {
        let value = match (parameter.kind, node.value) {
            (ParameterKind::String, _) => {
                self.string(node, &format!("a string for `{}`", parameter.name))?.value
            }
            (ParameterKind::Integer, _) => self.number(node, i64::MIN..=i64::MAX)?.to_string(),
            (ParameterKind::Boolean, DeValue::Boolean(value)) => value.to_string(),
            (ParameterKind::Boolean, _) => {
                return self.wrong_type(node, &format!("true or false for `{}`", parameter.name));
            }
        };
        if value.contains("${") {
            let message = format!("`{}` takes no references", parameter.name);
            self.fault(&node.place, message, "a recipe's parameters are known before any session is");
            return None;
        }
        if let Some(pattern) = &parameter.pattern
            && !whole(pattern).is_ok_and(|whole| whole.is_match(&value))
        {
            let message = format!("`{value}` does not fit `{}`", parameter.name);
            self.faults.push(
                Fault::new(&node.place, message, format!("expected a text that matches `{pattern}`"))
                    .with_help(parameter.doc.clone()),
            );
            return None;
        }
        Some(value)
    }
}

/// The pattern as one that the whole of a value has to match.
fn whole(pattern: &str) -> Result<Regex, regex::Error> {
    Regex::new(&format!("^(?:{pattern})$"))
}
