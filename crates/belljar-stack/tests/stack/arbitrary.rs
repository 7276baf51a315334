//! Whatever a file holds, it is answered with a stack or with faults that can be shown.

use belljar_stack::{RecipeBook, SourceFile, Stack};
use proptest::prelude::{ProptestConfig, Strategy, prop, proptest};

use crate::{Everything, context};

fn answer(text: String) {
    let source = SourceFile { path: "/src/pods/belljar.toml".into(), text };
    match Stack::parse(&source, &RecipeBook::builtin()) {
        Ok(stack) => drop(stack.plan(&context(), &Everything)),
        Err(faults) => {
            assert!(!faults.render(false).is_empty() && !faults.render(true).is_empty());
            assert!(faults.iter().all(|fault| fault.line() > 0 && fault.column() > 0));
        }
    }
}

/// Lines that are nearly right reach further than noise does.
fn nearly() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "name",
        "run",
        "use",
        "with",
        "shell",
        "env",
        "env_file",
        "after",
        "ports",
        "ready",
        "volumes",
        "volume",
        "files",
        "stop",
        "replicas",
        "scenarios",
        "tags",
        "timeout",
        "requires",
        "cwd",
        "home",
        "setup",
        "inputs",
    ]);
    let value = prop::sample::select(vec![
        "1",
        "-7",
        "1.5",
        "true",
        "\"10s\"",
        "\"postgres\"",
        "\"${db.url}\"",
        "\"${\"",
        "\"é${self.ü}\"",
        "\"'\"",
        "[\"db\", \"api\"]",
        "[1, {db = \"ready\"}]",
        "{http = 80}",
        "{http = \"/\", within = \"1s\"}",
        "{a = {b = {}}}",
        "{signal = \"HUP\"}",
        "{\"/x\" = \"${self.name}\"}",
        "1979-05-27",
        "\"\"\"\n\\u00e9\n${x.y}\"\"\"",
        "\"\\u0000\"",
    ]);
    let header = prop::sample::select(vec![
        "",
        "[service.db]",
        "[service.api]",
        "[task.migrate]",
        "[task.db]",
        "[suite.all]",
        "[service]",
        "[env]",
    ]);
    let line = (key, value).prop_map(|(key, value)| format!("{key} = {value}\n"));
    let table = (header, prop::collection::vec(line, 0..5))
        .prop_map(|(header, lines)| format!("{header}\n{}", lines.concat()));
    prop::collection::vec(table, 0..4).prop_map(|tables| tables.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in "\\PC*") {
        answer(text);
    }

    #[test]
    fn anything_that_is_nearly_a_stack(text in nearly()) {
        answer(text);
    }
}
