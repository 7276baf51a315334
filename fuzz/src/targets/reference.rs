//! Texts with references in them, where a stack file has them.

use belljar_stack::RecipeBook;

use super::plans::{assert_told, parse, plan};

thread_local! {
    static RECIPES: RecipeBook = RecipeBook::builtin();
}

/// Everything that stands between two references comes out as it went in.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let quoted = quoted(&text);
    let stack = format!(
        "[service.db]\nuse = 'postgres'\n\
         [service.api]\nrun = ['api', {quoted}]\nreplicas = 2\nports = {{ http = 80, raw = 81 }}\nvolume = true\n\
         env.X = {quoted}\nfiles = {{ '/x' = {quoted} }}\nready.http = {quoted}\n\
         [task.migrate]\nrun = 'migrate'\nenv.X = {quoted}\n\
         [suite.all]\nscenarios = '*'\nenv.X = {quoted}\n"
    );
    // Some of these places refuse what others take, so each is also looked at by itself.
    check(stack, &text);
    check(format!("[service.api]\nrun = 'api'\nports.http = 80\nvolume = true\nenv.X = {quoted}\n"), &text);
    check(format!("[task.migrate]\nrun = 'migrate'\nenv.X = {quoted}\n"), &text);
    check(format!("[task.migrate]\nshell = {quoted}\n"), &text);
    check(format!("[task.migrate]\nrun = {quoted}\n"), &text);
}

fn check(stack: String, text: &str) {
    let stack = match RECIPES.with(|recipes| parse(stack, recipes)) {
        Ok(stack) => stack,
        Err(faults) => {
            assert_told(&faults);
            return;
        }
    };
    let Some(plan) = plan(&stack) else { return };
    let services = plan.replicas().filter_map(|replica| replica.env.get("X"));
    let tasks = plan.tasks.iter().filter_map(|task| task.env.get("X"));
    for value in services.chain(tasks) {
        if !text.contains("${") {
            assert_eq!(value, text, "a text without a reference");
        } else if text.matches("${").count() == text.matches("$${").count() {
            assert_eq!(*value, text.replace("$${", "${"), "a text without a reference");
        }
    }
}

/// The text as TOML has it.
fn quoted(text: &str) -> String {
    use std::fmt::Write as _;
    let mut quoted = "\"".to_owned();
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => write!(quoted, "\\U{:08X}", u32::from(c)).expect("it is a string"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

pub const WORDS: &[&str] = &[
    "${",
    "}",
    "$${",
    "$",
    "${self.",
    "${db.",
    "${api.",
    "${api-2.",
    "${db-1.",
    "${migrate.",
    "${session.",
    "${env.HOME}",
    "${env.",
    "${with.",
    "${program.",
    "${seed}",
    "host}",
    "name}",
    "index}",
    "data}",
    "url}",
    "port.http}",
    "addr.http}",
    "port.",
    "addr.",
    "sql}",
    "id}",
    "dir}",
    ".",
    "..",
    "é",
    "\u{0}",
    "${HOME}",
    "'",
    "\"",
    " ",
    "./",
    "api-02",
    "api-65536",
    "\\",
];
