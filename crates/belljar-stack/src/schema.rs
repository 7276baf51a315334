//! The JSON Schema of stack files, for editors. Its keys are those of [`Level`], its words those that the reader
//! chooses from, its bounds the reader's own: what a file may say stands in one place.
//!
//! A schema cannot know everything that `check` knows (references, cycles, ports by name). It refuses nothing that
//! `check` accepts, and much of what it does not; a test holds every stack text of the others' tests against it.

use belljar_model::signal;
use serde_json::{Map, Value, json};

use crate::keys::Level;
use crate::read::{BACKENDS, FILESYSTEMS, HOMES, ISOLATIONS, KINDS, SESSIONS};
use crate::read_limits::{CPUS, MAX_PIDS};
use crate::read_ports::INTERFACES;
use crate::read_service::{BOOTS, CHECKS, CONDITIONS, MAX_REPLICAS, PROTOCOLS, RESTARTS};
use crate::recipe::{ParameterKind, RecipeBook};

/// The levels of a stack file, each with its name among the definitions.
const LEVELS: &[(Level, &str)] = &[
    (Level::Service, "service"),
    (Level::Task, "task"),
    (Level::Suite, "suite"),
    (Level::Port, "port"),
    (Level::Publish, "publish"),
    (Level::HostService, "host_service"),
    (Level::Ready, "ready"),
    (Level::Health, "health"),
    (Level::Stop, "stop"),
    (Level::Limits, "limits"),
    (Level::Requires, "requires"),
];

/// The schema of a stack file, draft 2020-12. Editors are offered the recipes that belljar brings.
pub fn schema() -> Value {
    let definitions: Map<String, Value> =
        LEVELS.iter().map(|&(level, name)| (name.to_owned(), object(level))).collect();
    let mut schema = object(Level::Top);
    let head = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "belljar.toml",
        "description": "A stack: the servers that a test needs, how they start, and when they are ready.",
    });
    let mut document = head.as_object().expect("it is written as one").clone();
    document.append(schema.as_object_mut().expect("a level is an object"));
    document.insert("$defs".to_owned(), Value::Object(definitions));
    Value::Object(document)
}

/// One level with all of its keys, and what must hold of them together.
fn object(level: Level) -> Value {
    let properties: Map<String, Value> = level
        .keys()
        .iter()
        .map(|&key| {
            let (about, shape) = about(level, key).unwrap_or_else(|| ("", json!({})));
            let mut shape = shape;
            shape["description"] = about.into();
            (key.to_owned(), shape)
        })
        .collect();
    let mut object = json!({"type": "object", "additionalProperties": false, "properties": properties});
    for (key, value) in together(level) {
        object[key] = value;
    }
    object
}

/// What holds between the keys of a level.
fn together(level: Level) -> Vec<(&'static str, Value)> {
    let exactly_one =
        |keys: &[&str]| json!(keys.iter().map(|key| json!({"required": [key]})).collect::<Vec<_>>());
    match level {
        Level::Service => vec![("oneOf", exactly_one(&["run", "shell", "use"])), ("allOf", recipes())],
        Level::Task => vec![("oneOf", exactly_one(&["run", "shell"]))],
        Level::Suite => vec![("anyOf", exactly_one(&["scenarios", "kind"]))],
        Level::Port => vec![("required", json!(["port"]))],
        Level::HostService => vec![("required", json!(["to"]))],
        Level::Ready | Level::Health => {
            // None of them is right where a recipe, or `ready`, says it.
            let kinds: Vec<&str> = CHECKS.iter().copied().filter(|one| level.keys().contains(one)).collect();
            let mut at_most_one = exactly_one(&kinds);
            let none = json!({"not": {"anyOf": at_most_one}});
            at_most_one.as_array_mut().expect("it is a list").push(none);
            let of_http: Map<String, Value> =
                ["port", "status", "body"].iter().map(|&key| (key.to_owned(), json!(["http"]))).collect();
            vec![("oneOf", at_most_one), ("dependentRequired", Value::Object(of_http))]
        }
        _ => Vec::new(),
    }
}

/// The parameters of each recipe, explained where the recipe is used. Their types are left to `check`: a stack may
/// have a recipe of its own by the same name.
fn recipes() -> Value {
    let book = RecipeBook::builtin();
    let each = book.iter().map(|recipe| {
        let parameters: Map<String, Value> = recipe
            .parameters
            .iter()
            .map(|one| {
                let mut shape = json!({"description": one.doc});
                if let Some(default) = &one.default {
                    shape["default"] = typed(one.kind, default);
                }
                (one.name.clone(), shape)
            })
            .collect();
        json!({
            "if": {"properties": {"use": {"const": recipe.name}}, "required": ["use"]},
            "then": {"properties": {"with": {"description": recipe.summary, "properties": parameters}}},
        })
    });
    Value::Array(each.collect())
}

fn typed(kind: ParameterKind, text: &str) -> Value {
    match kind {
        ParameterKind::String | ParameterKind::Service => text.into(),
        ParameterKind::Integer => text.parse::<i64>().map_or_else(|_| text.into(), Into::into),
        ParameterKind::Boolean => (text == "true").into(),
    }
}

/// What a key means, in a sentence, and what its values look like.
fn about(level: Level, key: &str) -> Option<(&'static str, Value)> {
    match level {
        Level::Top => about_top(key),
        Level::Service | Level::Task => about_unit(level, key),
        Level::Suite => about_suite(key),
        Level::Ready | Level::Health => about_ready(key),
        Level::Port | Level::Publish | Level::HostService | Level::Stop | Level::Limits | Level::Requires => {
            about_small(level, key)
        }
        Level::RecipeService | Level::Recipe | Level::Parameter | Level::Program | Level::Packages => None,
    }
}

fn about_top(key: &str) -> Option<(&'static str, Value)> {
    Some(match key {
        "name" => ("The stack's name; else the directory's.", string()),
        "backend" => ("Where replicas run.", words(BACKENDS)),
        "isolation" => ("How tight a session is.", words(ISOLATIONS)),
        "filesystem" => ("What replicas and commands see of the host's files.", words(FILESYSTEMS)),
        "home" => ("The home directory: yours, or an empty one that ends with the session.", words(HOMES)),
        "env" => ("Variables for every replica and task.", table_of(&string())),
        "inherit_env" => ("Your own variables that reach every replica and task.", list_of(&string())),
        "limits" => ("What the whole session may use of the machine.", definition("limits")),
        "service" => ("Parts of the stack that keep running.", named("service")),
        "task" => ("Parts that run once and end: migrations, seeds.", named("task")),
        "suite" => ("Sets of scenarios.", named("suite")),
        "host_services" => ("Services of the host that are reached from inside, by name.", host_services()),
        "recipe" => (
            "Recipes of the stack's own, each as a file in `recipes/` has it.",
            table_of(&json!({"type": "object"})),
        ),
        _ => return None,
    })
}

fn about_unit(level: Level, key: &str) -> Option<(&'static str, Value)> {
    Some(match key {
        "use" => ("A recipe; `belljar recipes` lists them.", recipe_names()),
        "with" => ("The recipe's parameters.", json!({"type": "object"})),
        "run" => ("The program and its arguments: split as a shell splits words, or a list.", command()),
        "shell" => ("A script for `sh -c`.", string()),
        "cwd" => ("The working directory, below the stack file's.", string()),
        "env" => ("Its variables.", table_of(&string())),
        "env_file" => ("Files of NAME=value lines.", one_or_more()),
        "after" => ("What has to be ready (services) or have succeeded (tasks) before it starts.", after()),
        "ports" => ("The ports that each replica listens on, by name.", ports()),
        "publish" => ("The ports that are shown on the host.", publish()),
        "ready" => ("When a replica can be used.", definition("ready")),
        "health" => ("What is watched after it is ready.", definition("health")),
        "volume" => ("A directory for its data, whose path is ${self.data}.", json!({"type": "boolean"})),
        "volumes" => ("Directories by name, with the path where the replica sees each.", table_of(&string())),
        "files" => ("Files to write before it starts: path inside, and text.", table_of(&string())),
        "stop" => ("How it is stopped.", definition("stop")),
        "replicas" => ("How many copies run.", number(1, MAX_REPLICAS.into())),
        "boot" => ("The first start of the replicas: all at once, or one after another.", words(BOOTS)),
        "restart" => ("What happens when a replica ends that nobody stopped.", words(RESTARTS)),
        "limits" => ("What it may use of the machine.", definition("limits")),
        "profiles" => ("It is there only with `up --profile` and one of these.", list_of(&string())),
        "watch" => ("Globs of files that `up --watch` starts it again for.", list_of(&string())),
        "prepare" if level == Level::Task => {
            ("Its effect belongs to the snapshot.", json!({"type": "boolean"}))
        }
        "inputs" if level == Level::Task => {
            ("Globs of the files that its effect depends on.", list_of(&string()))
        }
        "timeout" if level == Level::Task => ("After this it has failed.", duration()),
        _ => return None,
    })
}

fn about_suite(key: &str) -> Option<(&'static str, Value)> {
    Some(match key {
        "scenarios" => ("A glob; every executable file that it matches is a scenario.", string()),
        "kind" => ("What a scenario is.", words(KINDS)),
        "session" => ("A session for each scenario.", words(SESSIONS)),
        "tags" => ("For `belljar test --tag`.", list_of(&string())),
        "timeout" => ("For one attempt.", duration()),
        "retries" => ("How many more attempts a scenario gets that did not pass.", number(0, 100)),
        "env" => ("Variables for the scenarios.", table_of(&string())),
        "exclusive" => ("Nothing else runs beside its scenarios.", json!({"type": "boolean"})),
        "weight" => ("How many of the places of `-j` a scenario takes.", number(1, 1000)),
        "requires" => ("What the machine needs; else its scenarios are skipped.", definition("requires")),
        "setup" => ("Runs once per session before the scenario; its exports reach it.", command()),
        "home" => ("The home directory of the scenarios.", words(HOMES)),
        _ => return None,
    })
}

fn about_ready(key: &str) -> Option<(&'static str, Value)> {
    let always = json!({"const": true});
    let port_names = json!({"anyOf": [one_or_more(), always]});
    Some(match key {
        "tcp" => ("These ports take connections; true: every TCP port.", port_names),
        "http" => ("GET on this path is answered well.", string()),
        "exec" => ("This command ends with code 0.", command()),
        "log" => ("A line of its output matches this regular expression.", string()),
        "notify" => ("It says READY=1, as sd_notify does.", always),
        "file" => ("This file exists.", string()),
        "socket" => ("This unix socket takes connections.", string()),
        "port" => ("The name of the port that `http` asks.", string()),
        "status" => ("The status that `http` wants; else any 2xx.", number(100, 599)),
        "body" => ("A regular expression to be found in the answer to `http`.", string()),
        "within" => ("How long the check may fail.", duration()),
        "every" => ("From one look to the next.", duration()),
        "restart" => ("Whether it is restarted when it is unhealthy.", json!({"type": "boolean"})),
        "stable" => ("The check must hold this long without a break.", duration()),
        _ => return None,
    })
}

fn about_small(level: Level, key: &str) -> Option<(&'static str, Value)> {
    let memory =
        json!({"type": "string", "pattern": "^[0-9]+\\s*(KiB|MiB|GiB|TiB)$", "examples": ["512MiB"]});
    let processors = json!({"type": "number", "minimum": CPUS.start(), "maximum": CPUS.end()});
    Some(match (level, key) {
        (Level::Port, "port") => ("Its number.", number(1, u16::MAX.into())),
        (Level::Port, "protocol") => ("How it is spoken to.", words(PROTOCOLS)),
        (Level::Port, "listen") => {
            ("belljar makes the listener and hands it over, as systemd does.", json!({"type": "boolean"}))
        }
        (Level::Publish, "port") => {
            ("This port of the host exactly; else a free one.", number(1, u16::MAX.into()))
        }
        (Level::Publish, "on") => ("Which interfaces of the host show it.", words(INTERFACES)),
        (Level::HostService, "to") => ("Its address on the host.", string()),
        (Level::HostService, "port") => ("Its port inside; else the same.", number(1, u16::MAX.into())),
        (Level::Stop, "signal") => ("The signal that asks it to stop.", signals()),
        (Level::Stop, "within") => ("After this it is killed.", duration()),
        (Level::Limits, "pids") => ("Processes and threads.", number(1, MAX_PIDS.into())),
        (Level::Limits, "memory") => ("Memory, files in memory among it.", memory),
        (Level::Limits, "cpu") => ("Processors' time: 0.5 is half of one.", processors),
        (Level::Requires, "env") => ("Variables.", list_of(&string())),
        (Level::Requires, "commands") => ("Programs.", list_of(&string())),
        (Level::Requires, "capabilities") => {
            ("What `belljar doctor` calls by these names.", list_of(&string()))
        }
        _ => return None,
    })
}

fn string() -> Value {
    json!({"type": "string"})
}

fn list_of(item: &Value) -> Value {
    json!({"type": "array", "items": item})
}

fn table_of(value: &Value) -> Value {
    json!({"type": "object", "additionalProperties": value})
}

fn definition(name: &str) -> Value {
    json!({"$ref": format!("#/$defs/{name}")})
}

/// A table of such things by names that people choose.
fn named(name: &str) -> Value {
    json!({
        "type": "object",
        "propertyNames": {"pattern": "^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$"},
        "additionalProperties": definition(name),
    })
}

fn words<T>(choices: &[(&'static str, T)]) -> Value {
    json!({"enum": choices.iter().map(|(word, _)| *word).collect::<Vec<_>>()})
}

fn number(least: u64, most: u64) -> Value {
    json!({"type": "integer", "minimum": least, "maximum": most})
}

fn duration() -> Value {
    json!({"type": "string", "pattern": "^[0-9.]+(ms|s|m|h|d)$", "examples": ["250ms", "10s", "2m"]})
}

fn one_or_more() -> Value {
    json!({"anyOf": [string(), list_of(&string())]})
}

fn command() -> Value {
    json!({"anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "array", "items": string(), "minItems": 1},
    ]})
}

fn after() -> Value {
    let long = table_of(&words(CONDITIONS));
    json!({"anyOf": [list_of(&json!({"anyOf": [string(), long]})), long]})
}

fn ports() -> Value {
    let number = number(1, u16::MAX.into());
    json!({
        "type": "object",
        "propertyNames": {"pattern": "^[a-z0-9_-]+$"},
        "additionalProperties": {"anyOf": [number, definition("port")]},
    })
}

fn publish() -> Value {
    let one = json!({"anyOf": [number(1, u16::MAX.into()), definition("publish")]});
    json!({"anyOf": [list_of(&string()), table_of(&one)]})
}

fn host_services() -> Value {
    table_of(&json!({"anyOf": [string(), definition("host_service")]}))
}

fn recipe_names() -> Value {
    let book = RecipeBook::builtin();
    let names: Vec<&str> = book.iter().map(|one| one.name.as_str()).collect();
    // Those of the stack itself are not known here; the known ones are offered.
    json!({"anyOf": [{"enum": names}, string()]})
}

fn signals() -> Value {
    let names: Vec<String> =
        signal::names().flat_map(|name| [name.to_owned(), format!("SIG{name}")]).collect();
    json!({"enum": names})
}

#[cfg(test)]
mod tests {
    use super::{LEVELS, about};
    use crate::keys::Level;

    #[test]
    fn every_key_is_described() {
        for level in LEVELS.iter().map(|(level, _)| *level).chain([Level::Top]) {
            for key in level.keys() {
                let about = about(level, key).map(|(about, _)| about);
                assert!(about.is_some_and(|about| about.ends_with('.')), "{level:?} `{key}` in schema.rs");
            }
        }
    }
}
