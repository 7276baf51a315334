//! Looking at a project's directory. Files are read, nothing is run, and what cannot be read is as good as not
//! there: a draft is help, not a check.

use std::path::Path;

use super::{Body, Draft, Service, Task, cargo, compose, go, name_like, node, procfile, python};

/// Longer than any file that says how a project is started.
const LONGEST: u64 = 1 << 20;

/// A server that projects need, and what tells that they do.
pub(crate) struct Backing {
    /// The recipe.
    pub(crate) recipe: &'static str,
    /// The service's name in the draft.
    pub(crate) name: &'static str,
    /// The variable that programs look for its address in.
    pub(crate) variable: &'static str,
    /// Libraries that speak to it, by the names that package managers know.
    drivers: &'static [&'static str],
}

pub(crate) const BACKINGS: &[Backing] = &[
    Backing {
        recipe: "postgres",
        name: "db",
        variable: "DATABASE_URL",
        drivers: &[
            "pg",
            "postgres",
            "pg-promise",
            "tokio-postgres",
            "deadpool-postgres",
            "sqlx",
            "diesel",
            "psycopg",
            "psycopg2",
            "psycopg2-binary",
            "asyncpg",
            "github.com/lib/pq",
            "github.com/jackc/pgx",
        ],
    },
    Backing {
        recipe: "mariadb",
        name: "db",
        variable: "DATABASE_URL",
        drivers: &[
            "mysql",
            "mysql2",
            "mysql_async",
            "mysqlclient",
            "pymysql",
            "github.com/go-sql-driver/mysql",
        ],
    },
    Backing {
        recipe: "redis",
        name: "cache",
        variable: "REDIS_URL",
        drivers: &["redis", "ioredis", "bullmq", "fred", "celery", "rq", "github.com/redis/go-redis"],
    },
    Backing {
        recipe: "nats",
        name: "bus",
        variable: "NATS_URL",
        drivers: &["nats", "async-nats", "nats-py", "@nats-io/transport-node", "github.com/nats-io/nats.go"],
    },
];

/// What one look at a manifest needs and gives.
pub(crate) struct Look<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) draft: &'a mut Draft,
    /// The recipes that there are.
    recipes: &'a [String],
    /// Whether others have said already what the application is.
    pub(crate) has_application: bool,
}

/// The draft of what lies in `dir`. `recipes` are the names that `use` can say.
pub(crate) fn survey(dir: &Path, name: &str, recipes: &[String]) -> Draft {
    let mut draft = Draft { name: name_like(name), ..Draft::default() };
    let mut look = Look { dir, draft: &mut draft, recipes, has_application: false };
    // From what says most of a whole stack to what says least.
    compose::look(&mut look);
    procfile::look(&mut look);
    node::look(&mut look);
    python::look(&mut look);
    cargo::look(&mut look);
    go::look(&mut look);
    connect(&mut draft);
    if draft.services.is_empty() {
        draft.services.push(example());
    }
    draft
}

impl Look<'_> {
    /// The text of a file here, if it is one that can be read.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let path = self.dir.join(name);
        let is_short = path.metadata().is_ok_and(|data| data.is_file() && data.len() <= LONGEST);
        is_short.then(|| fs_err::read_to_string(path).ok()).flatten()
    }

    pub(crate) fn is_there(&self, name: &str) -> bool {
        self.dir.join(name).exists()
    }

    pub(crate) fn found(&mut self, what: impl Into<String>) {
        self.draft.found.push(what.into());
    }

    pub(crate) fn knows_recipe(&self, name: &str) -> bool {
        self.recipes.iter().any(|one| one == name)
    }

    /// Declares the servers that these libraries speak to, and says which libraries those were.
    pub(crate) fn backings<'b>(&mut self, libraries: impl Iterator<Item = &'b str>) -> Vec<String> {
        let libraries: Vec<&str> = libraries.collect();
        let mut seen = Vec::new();
        for backing in BACKINGS {
            let speaks = |library: &&&str| {
                let library = library.to_ascii_lowercase();
                // Go's major versions stand in the path: …/pgx/v5.
                backing.drivers.iter().any(|one| library == *one || library.starts_with(&format!("{one}/")))
            };
            let Some(driver) = libraries.iter().find(speaks) else { continue };
            seen.push((*driver).to_owned());
            if self.draft.has_recipe(backing.recipe) || !self.knows_recipe(backing.recipe) {
                continue;
            }
            let name = self.draft.free_name(backing.name);
            self.draft.services.push(Service {
                name,
                comments: vec![format!(
                    "The project uses `{driver}`; `belljar recipes` lists what else there is."
                )],
                body: Body::Recipe { recipe: backing.recipe.to_owned(), with: Vec::new() },
                ..Service::default()
            });
        }
        seen
    }

    /// Declares an application, unless others have said what it is.
    pub(crate) fn application(&mut self, mut service: Service) {
        if self.has_application {
            return;
        }
        service.name = self.draft.free_name(&service.name);
        self.draft.services.push(service);
    }

    pub(crate) fn task(&mut self, name: &str, shell: &str, comment: String) {
        let name = self.draft.free_name(name);
        let (after, env) = (Vec::new(), Vec::new());
        self.draft.tasks.push(Task { name, comments: vec![comment], shell: shell.to_owned(), after, env });
    }
}

/// Applications come after the servers and tasks, and are told where the servers are.
fn connect(draft: &mut Draft) {
    let servers: Vec<(String, &Backing)> = draft
        .services
        .iter()
        .filter_map(|one| {
            let backing = BACKINGS.iter().find(|backing| one.recipe() == Some(backing.recipe))?;
            Some((one.name.clone(), backing))
        })
        .collect();
    let addresses: Vec<(String, String)> = servers
        .iter()
        .map(|(name, backing)| (backing.variable.to_owned(), format!("${{{name}.url}}")))
        .collect();
    let names: Vec<String> = servers.into_iter().map(|(name, _)| name).collect();
    let tasks: Vec<String> = draft.tasks.iter().map(|one| one.name.clone()).collect();
    for task in &mut draft.tasks {
        join(&mut task.after, &names);
        join_variables(&mut task.env, &addresses);
    }
    for one in draft.services.iter_mut().filter(|one| one.recipe().is_none()) {
        if one.knows_its_order {
            // Of the servers it is told those that it waits for or has a variable for already.
            let after = names.iter().zip(&addresses);
            let meant = after.filter(|(name, (variable, _))| {
                one.after.contains(name) || one.env.iter().any(|(known, _)| known == variable)
            });
            let meant: Vec<(String, String)> = meant.map(|(_, address)| address.clone()).collect();
            join_variables(&mut one.env, &meant);
            continue;
        }
        join(&mut one.after, if tasks.is_empty() { &names } else { &tasks });
        join_variables(&mut one.env, &addresses);
    }
    // What is only a comment cannot be waited for.
    let unknown: Vec<String> =
        draft.services.iter().filter(|one| !one.is_known()).map(|one| one.name.clone()).collect();
    for one in &mut draft.services {
        one.after.retain(|name| !unknown.contains(name));
    }
}

fn join(names: &mut Vec<String>, more: &[String]) {
    for name in more {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
}

/// A server's address in the session wins over what a file said of another world.
fn join_variables(variables: &mut Vec<(String, String)>, more: &[(String, String)]) {
    for (name, value) in more {
        match variables.iter_mut().find(|(one, _)| one == name) {
            Some((_, old)) => old.clone_from(value),
            None => variables.push((name.clone(), value.clone())),
        }
    }
}

/// For a directory that says nothing.
fn example() -> Service {
    let run = Body::Run("python3 -m http.server ${self.port.http}".to_owned());
    let mut service = Service::web("web", run, 8080, "An example: this directory, served over HTTP.");
    service
        .comments
        .push("Put your own program in its place; it listens on 0.0.0.0, not on 127.0.0.1.".to_owned());
    service
}
