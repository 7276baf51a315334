//! From TOML to declarations: services and tasks.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use belljar_model::{ServiceName, StackName, TaskName, signal};
use toml::de::DeValue;

use crate::declare::{
    AfterDecl, CheckDecl, Command, HealthDecl, PortDecl, Process, ReadyDecl, ServiceDecl, StopDecl, TaskDecl,
    UsedRecipe, Variable, VolumeDecl,
};
use crate::fault::Fault;
use crate::keys::Level;
use crate::near::suggestion;
use crate::plan::{Boot, Condition, Protocol, RestartPolicy};
use crate::recipe::RecipeBook;
use crate::reference::{Author, Template};
use crate::source::Text;
use crate::walk::{Entries, Entry, Node, Walk, one_of};

/// Whose services are read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Services<'a> {
    /// Those of a stack, which may use these recipes.
    OfStack(&'a RecipeBook),
    /// The one of a recipe.
    OfRecipe,
}

pub(crate) const BOOTS: &[(&str, Boot)] = &[("parallel", Boot::Parallel), ("serial", Boot::Serial)];
pub(crate) const RESTARTS: &[(&str, RestartPolicy)] = &[
    ("never", RestartPolicy::Never),
    ("on-failure", RestartPolicy::OnFailure),
    ("always", RestartPolicy::Always),
];
pub(crate) const CONDITIONS: &[(&str, Condition)] =
    &[("started", Condition::Started), ("ready", Condition::Ready), ("succeeded", Condition::Succeeded)];
pub(crate) const PROTOCOLS: &[(&str, Protocol)] = &[("tcp", Protocol::Tcp), ("udp", Protocol::Udp)];
pub(crate) const CHECKS: &[&str] = &["tcp", "http", "exec", "log", "notify", "file", "socket"];

/// As many as one network prefix per service leaves room for, and more than one machine carries.
pub(crate) const MAX_REPLICAS: u16 = 200;

impl Walk {
    pub(crate) fn service(
        &mut self,
        name: ServiceName,
        entry: &Entry<'_>,
        services: Services<'_>,
    ) -> Option<ServiceDecl> {
        let (level, author) = match services {
            Services::OfStack(_) => (Level::Service, Author::Stack),
            Services::OfRecipe => (Level::RecipeService, Author::Recipe),
        };
        let table = self.keyed_table(&entry.value, level, "a table, as in `[service.NAME]`")?;
        let recipe = match services {
            Services::OfStack(book) => self.used_recipe(&table, book),
            Services::OfRecipe => None,
        };
        let process = self.process(&table, author);
        if process.command.is_none() && !["run", "shell", "use"].iter().any(|key| table.get(key).is_some()) {
            let label = format!("expected {} in this service", one_of(["run", "shell", "use"].into_iter()));
            self.fault(&entry.key.place, "a service without anything to run", label);
        }
        let uses_recipe = table.get("use").is_some();
        let replicas = table.get("replicas").and_then(|node| self.number(node, 1..=MAX_REPLICAS));
        let own = ServiceDecl {
            name,
            place: entry.key.place.clone(),
            slot: 0,
            process,
            init: table
                .get("init")
                .and_then(|node| self.string(node, "a string: a script for sh"))
                .map(|text| Template::parse(&text, author, &mut self.faults)),
            flags: self.flags(table.get("flags")),
            ports: self.ports(table.get("ports")),
            publish: table.get("publish").map(|node| self.publish(node)).unwrap_or_default(),
            ready: table.get("ready").and_then(|node| self.ready(node, author, uses_recipe)),
            health: table.get("health").and_then(|node| self.health(node, author)),
            stop: table.get("stop").map(|node| self.stop(node)).unwrap_or_default(),
            volumes: self.volumes(&table),
            files: self.files(table.get("files"), author),
            replicas,
            boot: table.get("boot").and_then(|node| self.choice(level, "boot", node, BOOTS)),
            restart: table.get("restart").and_then(|node| self.choice(level, "restart", node, RESTARTS)),
            watch: self.globs(table.get("watch")),
            program: None,
            recipe,
        };
        Some(match &own.recipe {
            Some(used) => {
                let base = used.recipe.service.clone();
                own.over(base)
            }
            None => own,
        })
    }

    pub(crate) fn task(&mut self, name: TaskName, entry: &Entry<'_>) -> Option<TaskDecl> {
        let table = self.keyed_table(&entry.value, Level::Task, "a table, as in `[task.NAME]`")?;
        let process = self.process(&table, Author::Stack);
        if process.command.is_none() && !["run", "shell", "use"].iter().any(|key| table.get(key).is_some()) {
            self.fault(
                &entry.key.place,
                "a task without anything to run",
                "expected `run` or `shell` in this task",
            );
        }
        // Declarations of what a snapshot would cover: the task runs in every session all the same.
        if let Some(node) = table.get("prepare") {
            self.boolean(node);
        }
        self.globs(table.get("inputs"));
        Some(TaskDecl {
            name,
            place: entry.key.place.clone(),
            process,
            timeout: table.get("timeout").and_then(|node| self.duration(node, false)),
        })
    }

    fn process(&mut self, table: &Entries<'_>, author: Author) -> Process {
        let run = table.get("run").and_then(|node| self.command(node, author));
        let shell = table
            .get("shell")
            .and_then(|node| self.string(node, "a string: a script for sh"))
            .map(|text| Command::Shell(Template::parse(&text, author, &mut self.faults)));
        let ways: Vec<_> = ["use", "run", "shell"].iter().filter_map(|key| table.entry(key)).collect();
        if let [first, second, ..] = ways[..] {
            let message = format!("both `{}` and `{}`", first.key.value, second.key.value);
            self.faults.push(
                Fault::new(&second.key.place, message, "expected only one of them")
                    .also(&first.key.place, "the other one"),
            );
        }
        let env_files =
            table.get("env_file").and_then(|node| self.one_or_more(node, "a string or a list of strings"));
        Process {
            command: run.or(shell),
            cwd: table
                .get("cwd")
                .and_then(|node| self.string(node, "a string: a directory"))
                .map(|text| Template::parse(&text, author, &mut self.faults)),
            env: self.variables(table.get("env"), author),
            env_files: env_files.unwrap_or_default(),
            after: table.get("after").map(|node| self.after(node)),
            limits: self.limits(table.get("limits")),
            profiles: self.profiles(table.get("profiles")),
        }
    }

    fn profiles(&mut self, node: Option<&Node<'_>>) -> Vec<String> {
        let names = node.and_then(|node| self.strings(node, "a list of names of profiles"));
        // A profile's name has the form of a stack's.
        let name =
            |name: Text| self.name(&name, "profile name", StackName::new, StackName::RULE).map(String::from);
        names.unwrap_or_default().into_iter().filter_map(name).collect()
    }

    fn globs(&mut self, node: Option<&Node<'_>>) -> Vec<String> {
        let globs = node.and_then(|node| self.strings(node, "a list of globs"));
        globs.unwrap_or_default().iter().filter_map(|glob| self.glob(glob)).collect()
    }

    /// A command: a string that is split as a shell splits words, or a list of words. References are put in
    /// after the splitting, so that a value with spaces stays one word.
    pub(crate) fn command(&mut self, node: &Node<'_>, author: Author) -> Option<Command> {
        let expected = "a string or a list of strings: a program and its arguments";
        let words = match node.value {
            DeValue::String(_) => {
                let text = self.string(node, expected)?;
                let Ok(words) = shell_words::split(&text.value) else {
                    self.faults.push(
                        Fault::new(
                            &text.place,
                            "this cannot be split into words",
                            "a quote is opened and never closed",
                        )
                        .with_help("write a list of words, or `shell = \"…\"` for a script"),
                    );
                    return None;
                };
                words.into_iter().map(|value| Text { value, place: text.place.clone() }).collect()
            }
            _ => self.strings(node, expected)?,
        };
        if words.first().is_none_or(|word| word.value.is_empty()) {
            self.fault(&node.place, "a command without a program", "expected a program and its arguments");
            return None;
        }
        let words = words.iter().map(|word| Template::parse(word, author, &mut self.faults)).collect();
        Some(Command::Words(words))
    }

    pub(crate) fn variables(&mut self, node: Option<&Node<'_>>, author: Author) -> Vec<Variable> {
        let table = node.and_then(|node| self.table(node, "a table of strings, as in { NAME = \"value\" }"));
        let mut variables = Vec::new();
        for Entry { key, value } in table.into_iter().flat_map(|table| table.list) {
            self.variable_name(&key);
            if let Some(text) = self.string(&value, "a string") {
                let value = Template::parse(&text, author, &mut self.faults);
                variables.push(Variable { name: key.value, value });
            }
        }
        variables
    }

    pub(crate) fn variable_names(&mut self, node: &Node<'_>) -> Vec<String> {
        let names = self.strings(node, "a list of names of variables").unwrap_or_default();
        for name in &names {
            self.variable_name(name);
        }
        names.into_iter().map(|name| name.value).collect()
    }

    fn variable_name(&mut self, name: &Text) {
        if name.value.is_empty() || name.value.contains(['=', '\0']) {
            let message = format!("`{}` is not the name of a variable", name.value.escape_default());
            self.fault(&name.place, message, "expected at least one character, and no `=`");
        }
    }

    fn after(&mut self, node: &Node<'_>) -> Vec<AfterDecl> {
        let expected = "a list of names, or a table such as { db = \"started\" }";
        if matches!(node.value, DeValue::Table(_)) {
            return self.after_table(node, expected);
        }
        let mut all = Vec::new();
        for one in self.list(node, expected).unwrap_or_default() {
            if matches!(one.value, DeValue::Table(_)) {
                all.extend(self.after_table(&one, expected));
            } else if let Some(on) = self.string(&one, "a string: the name of a service or task") {
                all.push(AfterDecl { on, condition: None });
            }
        }
        all
    }

    fn after_table(&mut self, node: &Node<'_>, expected: &str) -> Vec<AfterDecl> {
        let entries = self.table(node, expected).map(|table| table.list).unwrap_or_default();
        let mut all = Vec::new();
        for Entry { key, value } in entries {
            let condition = self.choice(Level::Service, "after", &value, CONDITIONS);
            all.push(AfterDecl { on: key, condition: condition.map(|one| (one, value.place)) });
        }
        all
    }

    fn ports(&mut self, node: Option<&Node<'_>>) -> Vec<PortDecl> {
        let table = node.and_then(|node| self.table(node, "a table of ports by name, as in { http = 8080 }"));
        let mut ports = Vec::new();
        for Entry { key, value } in table.into_iter().flat_map(|table| table.list) {
            let fitting = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
            if key.value.is_empty() || !key.value.bytes().all(fitting) {
                self.fault(
                    &key.place,
                    format!("`{}` is not the name of a port", key.value),
                    "expected a-z0-9, - and _",
                );
                continue;
            }
            let (number, protocol, listen) = match value.value {
                DeValue::Table(_) => {
                    let Some(table) = self.keyed_table(&value, Level::Port, "a port") else { continue };
                    let protocol = table
                        .get("protocol")
                        .and_then(|node| self.choice(Level::Port, "protocol", node, PROTOCOLS));
                    let Some(node) = table.get("port").cloned() else {
                        self.fault(&value.place, "a port without a number", "expected `port`");
                        continue;
                    };
                    let protocol = protocol.unwrap_or(Protocol::Tcp);
                    let listen = table.get("listen").and_then(|node| Some((self.boolean(node)?, node)));
                    if let (Some((true, node)), Protocol::Udp) = (&listen, protocol) {
                        let message = "`listen` on a UDP port";
                        self.fault(&node.place, message, "only a TCP port has a listener to hand over");
                    }
                    (node, protocol, listen.is_some_and(|(listen, _)| listen))
                }
                _ => (value, Protocol::Tcp, false),
            };
            if let Some(port) = self.number(&number, 1..=u16::MAX) {
                ports.push(PortDecl { name: key, port, protocol, listen, place: number.place });
            }
        }
        ports
    }

    fn ready(&mut self, node: &Node<'_>, author: Author, uses_recipe: bool) -> Option<ReadyDecl> {
        let table = self.keyed_table(node, Level::Ready, "a table such as { http = \"/health\" }")?;
        let kinds: Vec<_> = CHECKS.iter().filter_map(|key| table.entry(key)).collect();
        let check = match kinds[..] {
            // With a recipe the kind may be the recipe's, and only the times its user's.
            [] if uses_recipe => None,
            [] => {
                let label = format!("expected {}", one_of(CHECKS.iter().copied()));
                self.fault(&node.place, "`ready` does not say what makes a replica ready", label);
                None
            }
            [one] => self.check(one, &table, author),
            [first, second, ..] => {
                self.faults.push(
                    Fault::new(&second.key.place, "`ready` has more than one kind", "expected exactly one")
                        .also(&first.key.place, "the first one"),
                );
                None
            }
        };
        self.only_of_http(&table);
        Some(ReadyDecl {
            place: node.place.clone(),
            check,
            within: table.get("within").and_then(|node| self.duration(node, false)),
            stable: table.get("stable").and_then(|node| self.duration(node, true)),
        })
    }

    /// The watch after it is ready: a check of its own, or that of `ready`.
    fn health(&mut self, node: &Node<'_>, author: Author) -> Option<HealthDecl> {
        let table =
            self.keyed_table(node, Level::Health, "a table such as { http = \"/health\", every = \"5s\" }")?;
        let kinds: Vec<_> = CHECKS.iter().filter_map(|key| table.entry(key)).collect();
        let check = match kinds[..] {
            [one] if Level::Health.keys().contains(&one.key.value.as_str()) => {
                self.check(one, &table, author)
            }
            // None is that of `ready`; one that is not carried out here has been told of.
            [] | [_] => None,
            [first, second, ..] => {
                self.faults.push(
                    Fault::new(&second.key.place, "`health` has more than one kind", "expected exactly one")
                        .also(&first.key.place, "the first one"),
                );
                None
            }
        };
        self.only_of_http(&table);
        let within = table.get("within").and_then(|node| self.duration(node, true));
        Some(HealthDecl {
            ready: ReadyDecl { place: node.place.clone(), check, within, stable: None },
            every: table.get("every").and_then(|node| self.duration(node, false)),
            restart: table.get("restart").and_then(|node| self.boolean(node)).unwrap_or(false),
        })
    }

    fn only_of_http(&mut self, table: &Entries<'_>) {
        for key in ["port", "status", "body"] {
            if let Some(entry) = table.entry(key)
                && table.get("http").is_none()
            {
                self.fault(&entry.key.place, format!("`{key}` without `http`"), "only an HTTP check has it");
            }
        }
    }

    fn check(&mut self, kind: &Entry<'_>, table: &Entries<'_>, author: Author) -> Option<CheckDecl> {
        let node = &kind.value;
        match kind.key.value.as_str() {
            "tcp" => match node.value {
                DeValue::Boolean(true) => Some(CheckDecl::Tcp(None)),
                DeValue::Boolean(false) => self.must_be_true(node),
                _ => {
                    let names = self.one_or_more(node, "the name of a port, a list of names, or true")?;
                    Some(CheckDecl::Tcp(Some(names)))
                }
            },
            "http" => {
                let text = self.string(node, "a string: the path of a request")?;
                let path = Template::parse(&text, author, &mut self.faults);
                if !path.prefix().is_none_or(|prefix| prefix.starts_with('/')) {
                    self.fault(
                        &text.place,
                        "the path of a request starts with `/`",
                        "expected a path such as \"/health\"",
                    );
                }
                Some(CheckDecl::Http {
                    path,
                    port: table
                        .get("port")
                        .and_then(|node| self.string(node, "a string: the name of a port")),
                    status: table.get("status").and_then(|node| self.number(node, 100..=599)),
                    body: table.get("body").and_then(|node| self.regex(node)).map(|text| text.value),
                })
            }
            "exec" => self.command(node, author).map(CheckDecl::Exec),
            "log" => self.regex(node).map(|text| CheckDecl::Log(text.value)),
            "notify" if self.boolean(node)? => Some(CheckDecl::Notify),
            "notify" => self.must_be_true(node),
            key => {
                let text = self.string(node, "a string: a path")?;
                let path = Template::parse(&text, author, &mut self.faults);
                Some(if key == "file" { CheckDecl::File(path) } else { CheckDecl::Socket(path) })
            }
        }
    }

    fn must_be_true<T>(&mut self, node: &Node<'_>) -> Option<T> {
        self.fault(&node.place, "`false` checks nothing", "expected true, or another kind of check");
        None
    }

    fn stop(&mut self, node: &Node<'_>) -> StopDecl {
        let expected = "a table such as { signal = \"TERM\", within = \"10s\" }";
        let Some(table) = self.keyed_table(node, Level::Stop, expected) else { return StopDecl::default() };
        let name = table.get("signal").and_then(|node| self.string(node, "a string: the name of a signal"));
        let signal = name.and_then(|name| {
            let number = signal::number(&name.value);
            if number.is_none() {
                self.faults.push(
                    Fault::new(
                        &name.place,
                        format!("`{}` is not a signal", name.value),
                        "this signal is unknown",
                    )
                    .with_maybe_help(suggestion(&name.value, "signals", signal::names())),
                );
            }
            number
        });
        StopDecl { signal, within: table.get("within").and_then(|node| self.duration(node, true)) }
    }

    fn volumes(&mut self, table: &Entries<'_>) -> Vec<VolumeDecl> {
        let mut volumes = Vec::new();
        if let Some(node) = table.get("volume")
            && self.boolean(node) == Some(true)
        {
            volumes.push(VolumeDecl { name: "data".to_owned(), target: None });
        }
        let named = table
            .get("volumes")
            .and_then(|node| self.table(node, "a table of paths by name, as in { data = \"/var/lib/app\" }"));
        for Entry { key, value } in named.into_iter().flat_map(|table| table.list) {
            let fitting = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
            if key.value.is_empty() || !key.value.bytes().all(fitting) {
                self.fault(
                    &key.place,
                    format!("`{}` is not the name of a volume", key.value),
                    "expected a-z0-9, - and _",
                );
                continue;
            }
            if volumes.iter().any(|one: &VolumeDecl| one.name == key.value) {
                self.fault(
                    &key.place,
                    "the volume `data` is declared twice",
                    "`volume = true` declares it too",
                );
                continue;
            }
            let Some(path) = self.string(&value, "a string: the path inside") else { continue };
            if let Some(target) = self.absolute(&path) {
                volumes.push(VolumeDecl { name: key.value, target: Some((target, path.place)) });
            }
        }
        volumes
    }

    fn absolute(&mut self, text: &Text) -> Option<PathBuf> {
        if is_clean_absolute(Path::new(&text.value)) {
            return Some(PathBuf::from(&text.value));
        }
        self.fault(
            &text.place,
            format!("`{}` is not an absolute path", text.value),
            "expected a path from `/` on, without `..`",
        );
        None
    }

    fn files(&mut self, node: Option<&Node<'_>>, author: Author) -> Vec<(Template, Template)> {
        let table = node.and_then(|node| {
            self.table(node, "a table of texts by path, as in { \"/etc/app.conf\" = \"…\" }")
        });
        let mut files = Vec::new();
        for Entry { key, value } in table.into_iter().flat_map(|table| table.list) {
            if let Some(text) = self.string(&value, "a string: the text of the file") {
                let path = Template::parse(&key, author, &mut self.faults);
                files.push((path, Template::parse(&text, author, &mut self.faults)));
            }
        }
        files
    }

    fn flags(&mut self, node: Option<&Node<'_>>) -> Vec<(Text, Vec<Template>)> {
        let table = node.and_then(|node| self.table(node, "a table of lists of words by parameter"));
        let mut flags = Vec::new();
        for Entry { key, value } in table.into_iter().flat_map(|table| table.list) {
            let words = self.strings(&value, "a list of strings: words of the command").unwrap_or_default();
            let words =
                words.iter().map(|word| Template::parse(word, Author::Recipe, &mut self.faults)).collect();
            flags.push((key, words));
        }
        flags
    }

    fn used_recipe(&mut self, table: &Entries<'_>, book: &RecipeBook) -> Option<UsedRecipe> {
        let Some(node) = table.get("use") else {
            if let Some(entry) = table.entry("with") {
                self.fault(&entry.key.place, "`with` without `use`", "these are the parameters of no recipe");
            }
            return None;
        };
        let name = self.string(node, "a string: the name of a recipe")?;
        let Some(recipe) = book.find(&name.value) else {
            self.faults.push(
                Fault::new(
                    &name.place,
                    format!("there is no recipe `{}`", name.value),
                    "this recipe is unknown",
                )
                .with_maybe_help(suggestion(
                    &name.value,
                    "recipes",
                    book.iter().map(|one| one.name.as_str()),
                )),
            );
            return None;
        };
        let given = table.get("with").and_then(|node| self.table(node, "a table of parameters"));
        let given = given.map(|table| table.list).unwrap_or_default();
        let parameters = self.parameters(recipe, &name, &given);
        Some(UsedRecipe { recipe: Arc::clone(recipe), parameters })
    }
}

/// Whether every component of an absolute path goes down.
pub(crate) fn is_clean_absolute(path: &Path) -> bool {
    path.is_absolute() && !path.components().any(|one| matches!(one, Component::ParentDir))
}
