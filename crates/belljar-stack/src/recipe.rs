//! Recipes: service templates that live in TOML files. Those of belljar are compiled in; a stack's own lie in
//! `recipes/` beside its file and win over them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use belljar_model::StackName;
use toml::de::DeTable;

use crate::declare::{ServiceDecl, StackDecl, UsedRecipe};
use crate::fault::{Fault, Faults};
use crate::near::suggestion;
use crate::package::Package;
use crate::plan::{Filesystem, Home, Limits};
use crate::planner::Planner;
use crate::programs::Programs;
use crate::reference::Template;
use crate::source::{Place, SourceFile, Text};
use crate::walk::Walk;

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
    /// What a page says of it besides, in Markdown.
    pub notes: Option<String>,
    /// A stack file that uses it.
    pub example: String,
    /// In the order of the file.
    pub parameters: Vec<Parameter>,
    pub programs: Vec<Program>,
    pub outputs: Vec<Output>,
    pub origin: Origin,
    /// The file that it stands in.
    pub source: Arc<SourceFile>,
    pub(crate) service: ServiceDecl,
}

/// Where a recipe is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Compiled in.
    Builtin,
    /// A file of its own beside the stack file.
    File,
    /// `[recipe.NAME]` in the stack file itself.
    StackFile,
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
    /// The name of a service of the stack, which the recipe can ask for its facts.
    Service,
}

/// A server program that a recipe needs.
#[derive(Debug, Clone)]
pub struct Program {
    pub name: String,
    /// Those that have it.
    pub packages: Vec<Package>,
    /// Globs of directories where it may lie besides the `PATH`; relative ones lie below the stack's directory.
    pub(crate) dirs: Vec<Template>,
    /// Where not empty, the one directory that is looked in.
    pub(crate) only: Option<Template>,
}

impl Recipe {
    /// Where this machine has one of the recipe's programs, where no parameter is given. `dir` is the stack's.
    pub fn find(&self, program: &Program, dir: &Path, programs: &dyn Programs) -> Option<PathBuf> {
        let default = |name: &str| self.parameters.iter().find(|one| one.name == name)?.default.clone();
        let dirs: Vec<String> =
            program.dirs.iter().filter_map(|one| one.filled(default)).map(|one| below(dir, &one)).collect();
        programs.find(&program.name, &dirs)
    }

    /// The ports of each replica: name and number, in the order of the file.
    pub fn ports(&self) -> impl Iterator<Item = (&str, u16)> {
        self.service.ports.iter().map(|one| (one.name.value.as_str(), one.port))
    }

    /// How many replicas there are where the stack says nothing.
    pub fn replicas(&self) -> u16 {
        self.service.replicas.unwrap_or(1)
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

/// A path of a stack file, which may start at the stack's directory.
pub(crate) fn below(dir: &Path, path: &str) -> String {
    dir.join(path).to_string_lossy().into_owned()
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

macro_rules! builtin {
    ($($name:literal)+) => {
        [$(Builtin {
            name: $name,
            path: concat!("recipes/", $name, ".toml"),
            text: include_str!(concat!("../../../recipes/", $name, ".toml")),
            read: OnceLock::new(),
        }),+]
    };
}

static BUILTIN: [Builtin; 12] = builtin!(
    "anvil" "etcd" "haproxy" "mariadb" "mosquitto" "nats" "nginx" "postgres" "rabbitmq" "redis" "redis-sentinel" "zookeeper"
);

impl Builtin {
    fn recipe(&self) -> &Arc<Recipe> {
        self.read.get_or_init(|| {
            let source = SourceFile { path: PathBuf::from(self.path), text: self.text.to_owned() };
            Recipe::parse(&Arc::new(source), Origin::Builtin)
                .expect("a test reads every recipe that is compiled in")
        })
    }
}

impl RecipeBook {
    /// The recipes that belljar brings.
    pub fn builtin() -> Self {
        let page = |builtin: &'static Builtin| (builtin.name.to_owned(), Page::Builtin(builtin));
        Self { recipes: BUILTIN.iter().map(page).collect() }
    }

    /// What may have been meant by a name that no recipe has.
    pub fn suggestion(&self, name: &str) -> Option<String> {
        suggestion(name, "recipes", self.recipes.keys().map(String::as_str))
    }

    /// The recipes that belljar brings and every `recipes/*.toml` in `dir`, the directory of a stack file.
    pub fn with_dir(dir: &Path) -> Result<Self, Faults> {
        let (sources, mut faults) = Self::sources_in(dir);
        match Self::of(sources) {
            Ok(book) => faults.or(book),
            Err(found) => {
                faults.extend(found);
                Err(faults.in_order())
            }
        }
    }

    /// The recipes that belljar brings, and these, which win over them.
    pub fn of(sources: Vec<SourceFile>) -> Result<Self, Faults> {
        let mut book = Self::builtin();
        let mut faults = Faults::default();
        for source in sources {
            if let Err(found) = book.add(source) {
                faults.extend(found);
            }
        }
        faults.or(book)
    }

    /// Every `recipes/*.toml` in `dir`, and what could not be read of them.
    pub(crate) fn sources_in(dir: &Path) -> (Vec<SourceFile>, Faults) {
        let recipes = dir.join("recipes");
        let (mut sources, mut faults) = (Vec::new(), Faults::default());
        if !recipes.is_dir() {
            return (sources, faults);
        }
        match toml_files(&recipes) {
            Ok(files) => {
                for path in files {
                    match fs_err::read_to_string(&path) {
                        Ok(text) => sources.push(SourceFile { path, text }),
                        Err(error) => faults.push(unreadable(&path, &error)),
                    }
                }
            }
            Err(error) => faults.push(unreadable(&recipes, &error)),
        }
        (sources, faults)
    }

    /// In the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Recipe> + Clone {
        self.recipes.values().map(|page| page.recipe().as_ref())
    }

    /// The files of those that lie beside the stack file.
    pub(crate) fn own(&self) -> impl Iterator<Item = &SourceFile> {
        self.recipes.values().filter_map(|page| match page {
            Page::Own(recipe) if recipe.origin == Origin::File => Some(&*recipe.source),
            _ => None,
        })
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
        self.insert(Recipe::parse(&Arc::new(source), Origin::File)?);
        Ok(())
    }

    /// These recipes and those that a stack file brings itself, `[recipe.NAME]`.
    pub fn with_stack_file(&self, source: &SourceFile) -> Result<Self, Faults> {
        let source = Arc::new(source.clone());
        let mut walk = Walk::new(&source);
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        walk.syntax(&errors);
        if !walk.faults.is_empty() {
            return Err(walk.faults.in_order());
        }
        let top = walk.entries(table.get_ref());
        let book = walk.local_recipes(&top, self);
        walk.faults.or(book)
    }

    pub(crate) fn insert(&mut self, recipe: Arc<Recipe>) {
        self.recipes.insert(recipe.name.clone(), Page::Own(recipe));
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
    fn parse(source: &Arc<SourceFile>, origin: Origin) -> Result<Arc<Self>, Faults> {
        let mut walk = Walk::new(source);
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        walk.syntax(&errors);
        if !walk.faults.is_empty() {
            return Err(walk.faults.in_order());
        }
        let top = walk.entries(table.get_ref());
        let name = source.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let name = Text { value: name, place: walk.place(0..0) };
        let recipe = walk.recipe(&name, &top, origin);
        let recipe = walk.faults.or(recipe)?.expect("a recipe that could not be read has a fault");
        let recipe = Arc::new(recipe);
        recipe.faults().or(recipe)
    }

    /// Plans a stack of this recipe alone, so that every reference of it is looked up once.
    pub(crate) fn faults(self: &Arc<Self>) -> Faults {
        let place = Place::new(&self.source, 0..0);
        let parameters = self.parameters.iter().map(|one| {
            let value = one.default.clone().unwrap_or_else(|| one.kind.example(&self.name).to_owned());
            (one.name.clone(), Text { value, place: place.clone() })
        });
        let used = UsedRecipe { recipe: Arc::clone(self), parameters: parameters.collect() };
        let stack = StackDecl {
            isolation: None,
            sealed_only: Vec::new(),
            name: StackName::new("recipe").expect("it keeps the rule"),
            dir: PathBuf::from("/"),
            filesystem: Filesystem::Host,
            home: Home::Host,
            limits: Limits::default(),
            env: Vec::new(),
            inherit_env: Vec::new(),
            services: vec![ServiceDecl { recipe: Some(used), ..self.service.clone() }],
            tasks: Vec::new(),
            inactive: Vec::new(),
            suites: Vec::new(),
            host_services: Vec::new(),
        };
        Planner::check(&stack)
    }
}

impl ParameterKind {
    pub(crate) const ALL: &'static [(&'static str, Self)] = &[
        ("string", Self::String),
        ("integer", Self::Integer),
        ("boolean", Self::Boolean),
        ("service", Self::Service),
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
            Self::Service => "service",
        }
    }

    /// A value that fits; `service` is the name of one.
    pub(crate) fn example(self, service: &str) -> &str {
        match self {
            Self::String => "text",
            Self::Integer => "1",
            Self::Boolean => "true",
            Self::Service => service,
        }
    }
}
