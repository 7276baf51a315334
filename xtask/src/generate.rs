//! Files that are made from the code, so that they can't tell anything else.

use std::fmt::Write as _;

use belljar_model::{ErrorCode, ExitCode};
use belljar_report::graph::Graph;
use belljar_stack::{RecipeBook, SourceFile, Stack};

use crate::recipes;
use crate::repository::root;

const NOTICE: &str = "<!-- Written by `cargo xtask gen` from the code; changes belong there. -->";

/// Writes every generated file, or tells which are not what would be written.
pub(crate) fn run(check: bool) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, text) in generated() {
        let file = root().join(path);
        let is_current = fs_err::read_to_string(&file).is_ok_and(|current| current == text);
        if is_current {
            continue;
        }
        if check {
            faults.push(format!("{path} is not what the code says; run `cargo xtask gen`"));
            continue;
        }
        let dir = file.parent().expect("lies in the repository");
        if let Err(error) = fs_err::create_dir_all(dir).and_then(|()| fs_err::write(&file, text)) {
            faults.push(error.to_string());
        }
    }
    faults
}

fn generated() -> Vec<(&'static str, String)> {
    vec![
        ("docs/reference/errors.md", errors()),
        ("docs/reference/exit-codes.md", exit_codes()),
        ("docs/reference/openapi.json", openapi()),
        ("docs/reference/recipes.md", recipes::page(NOTICE)),
        ("docs/reference/belljar.schema.json", pretty(&belljar_stack::schema())),
        ("docs/images/pods.svg", graph("examples/pods/belljar.toml")),
    ]
}

fn exit_codes() -> String {
    let mut page = format!(
        "{NOTICE}\n\n# Exit codes\n\nWhat `belljar` ends with. `run` and `exec` end with the command's own code; the \
         three above 120 are belljar's own failures there.\n\n| code | meaning |\n| ---: | --- |\n"
    );
    for (ExitCode(code), meaning) in ExitCode::ALL {
        let _ = writeln!(page, "| {code} | {meaning} |");
    }
    page
}

fn errors() -> String {
    let mut page = format!(
        "{NOTICE}\n\n# Error codes\n\nEvery error has one of these stable codes: in parentheses below its message, with \
         `--json` in `error.code`, and in the answers of the control protocol. The exit code is the one of the program; \
         see [exit codes](exit-codes.md).\n\n| code | exit code | meaning |\n| --- | ---: | --- |\n"
    );
    for code in ErrorCode::ALL {
        let _ = writeln!(page, "| [`{code}`](#{code}) | {} | {} |", code.exit_code().0, code.meaning());
    }
    page.push_str("\n## What to do\n");
    for code in ErrorCode::ALL {
        let exit = code.exit_code().0;
        let _ = write!(page, "\n### {code}\n\n{}. Exit code {exit}.\n\n{}\n", code.meaning(), code.remedy());
    }
    page
}

/// The control protocol, as the server itself describes it.
fn openapi() -> String {
    pretty(&belljar_session::openapi::document())
}

fn pretty(document: &serde_json::Value) -> String {
    format!("{}\n", serde_json::to_string_pretty(document).expect("a JSON value is JSON"))
}

/// The picture of an example's stack.
fn graph(file: &str) -> String {
    let path = root().join(file);
    let text = fs_err::read_to_string(&path).expect("the example is part of the repository");
    let stack = Stack::parse(&SourceFile { path, text }, &RecipeBook::builtin());
    Graph::of(&stack.expect("a test checks every example").outline()).to_svg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_stands_on_its_page() {
        let page = errors();
        assert!(ErrorCode::ALL.iter().all(|code| page.contains(&format!("| [`{code}`](#{code}) |"))));
        assert!(ErrorCode::ALL.iter().all(|code| page.contains(&format!("\n### {code}\n"))));
        let page = exit_codes();
        assert!(ExitCode::ALL.iter().all(|(code, _)| page.contains(&format!("\n| {} |", code.0))));
    }
}
