//! The schema and the reader agree: what is accepted validates, and what is plainly wrong does not.

use std::path::Path;
use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::Value;

use crate::parse;

static SCHEMA: LazyLock<Validator> = LazyLock::new(|| {
    let schema = belljar_stack::schema();
    jsonschema::meta::validate(&schema).expect("it is a schema");
    jsonschema::validator_for(&schema).expect("it is a schema")
});

/// What is wrong with a stack's text by its schema, each with its place.
fn violations(text: &str) -> Vec<String> {
    let document: Value = toml::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    SCHEMA.iter_errors(&document).map(|one| format!("{}: {one}", one.instance_path())).collect()
}

/// Every text that any test here has the reader accept comes by.
#[track_caller]
pub(crate) fn accepts(text: &str) {
    let violations = violations(text);
    assert!(violations.is_empty(), "the schema refuses what the reader accepts: {violations:#?}\n{text}");
}

#[test]
fn every_example_and_page_validates() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut seen = 0;
    for example in fs_err::read_dir(root.join("examples")).unwrap() {
        let file = example.unwrap().path().join("belljar.toml");
        if let Ok(text) = fs_err::read_to_string(file) {
            seen += 1;
            accepts(&text);
        }
    }
    assert!(seen > 0);
    for (_, text) in crate::documents::examples("reference/stack-file.md") {
        accepts(&text);
    }
}

#[test]
fn what_is_wrong_is_refused_by_both() {
    let service = |line: &str| format!("[service.a]\nrun = \"x\"\n{line}\n");
    let wrong = [
        "nmae = \"pods\"".to_owned(),
        "name = 3".to_owned(),
        "egress = true".to_owned(),
        "filesystem = \"rw\"".to_owned(),
        "inherit_env = \"PATH\"".to_owned(),
        "limits = { pids = 0 }".to_owned(),
        "limits = { memory = \"512MB\" }".to_owned(),
        "limits = { cpu = 2000 }".to_owned(),
        "[service.a]".to_owned(),
        "[service.A]\nrun = \"x\"".to_owned(),
        "[service.a]\nrun = \"x\"\nshell = \"y\"".to_owned(),
        "[service.a]\nrun = []".to_owned(),
        service("replicas = 0"),
        service("replicas = \"3\""),
        service("replica = 3"),
        service("image = \"postgres\""),
        service("boot = \"slow\""),
        service("restart = true"),
        service("ports = { http = 70000 }"),
        service("ports = { http = { protocol = \"udp\" } }"),
        service("ports = { HTTP = 80 }"),
        service("ports = [80]"),
        service("env = { A = 1 }"),
        service("after = \"b\""),
        service("after = [{ b = \"soon\" }]"),
        service("ready = { tcp = true, log = \"up\" }"),
        service("ready = { file = \"/x\", status = 200 }"),
        service("ready = { notify = false }"),
        service("ready = { log = \"up\", within = \"soon\" }"),
        service("ready = { log = \"up\", within = 5 }"),
        service("health = { log = \"up\" }"),
        service("health = { file = \"/x\", socket = \"/y\" }"),
        service("stop = { signal = \"KLIL\" }"),
        "[task.a]\nrun = \"x\"\nreplicas = 2".to_owned(),
        "[task.a]\nprepare = true".to_owned(),
        "[suite.a]\ntags = [\"e2e\"]".to_owned(),
        "[suite.a]\nscenarios = \"s/*\"\nretries = 101".to_owned(),
        "[suite.a]\nscenarios = \"s/*\"\nkind = \"pytest\"".to_owned(),
        "[suite.a]\nscenarios = \"s/*\"\nrequires = { command = [\"psql\"] }".to_owned(),
    ];
    for text in &wrong {
        assert!(!violations(text).is_empty(), "the schema accepts this:\n{text}");
        assert!(parse(text).is_err(), "the reader accepts this:\n{text}");
    }
}
