//! The schema of stack files, as it is checked in.

use std::path::Path;
use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::Value;

const SCHEMA: &str = include_str!("../../../docs/reference/belljar.schema.json");

static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| {
    let schema: Value = serde_json::from_str(SCHEMA).expect("it is generated");
    jsonschema::validator_for(&schema).expect("it is a schema")
});

/// A stack that belljar takes has to be one that its schema takes.
#[track_caller]
pub(crate) fn accepts(file: &Path) {
    // A test may have moved it since.
    let Ok(text) = fs_err::read_to_string(file) else { return };
    let document: Value = toml::from_str(&text).expect("belljar has read it");
    let violations: Vec<String> =
        VALIDATOR.iter_errors(&document).map(|one| format!("{}: {one}", one.instance_path())).collect();
    assert!(violations.is_empty(), "the schema refuses a stack that came up: {violations:#?}\n{text}");
}
