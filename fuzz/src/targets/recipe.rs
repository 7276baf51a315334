//! A recipe, and a stack that is made from it.

use std::path::PathBuf;

use belljar_stack::{RecipeBook, SourceFile};

use super::plans::{assert_told, parse, plan};

thread_local! {
    static RECIPES: RecipeBook = RecipeBook::builtin();
}

/// Any text is answered with a recipe that can be used and described, or with faults that can be shown.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let mut recipes = RECIPES.with(RecipeBook::clone);
    if let Err(faults) = recipes.add(SourceFile { path: PathBuf::from("/nowhere/recipes/fuzzed.toml"), text })
    {
        assert_told(&faults);
        return;
    }
    let recipe = recipes.get("fuzzed").expect("it was just taken in");
    let parameters: Vec<_> = recipe
        .parameters
        .iter()
        // What has to be given is given; a value that its pattern refuses is a fault like any other.
        .filter(|one| one.default.is_none())
        .map(|one| format!("{:?} = '1'", one.name))
        .collect();
    let stacks = [
        "[service.db]\nuse = 'fuzzed'\n".to_owned(),
        format!("[service.db]\nuse = 'fuzzed'\nreplicas = 2\nwith = {{ {} }}\n", parameters.join(", ")),
        "[service.db]\nuse = 'fuzzed'\nenv.X = 'x'\n[task.t]\nrun = ['t', '${db.url}', '${db-1.host}']\n"
            .to_owned(),
    ];
    for stack in stacks {
        match parse(stack, &recipes) {
            Ok(stack) => drop(plan(&stack)),
            Err(faults) => assert_told(&faults),
        }
    }
}

pub const WORDS: &[&str] = &[
    "summary = ",
    "[parameters.x]\n",
    "[parameters.database]\n",
    "[programs.postgres]\n",
    "[programs.missing]\n",
    "[outputs]\n",
    "[service]\n",
    "type = ",
    "default = ",
    "doc = ",
    "pattern = ",
    "\"string\"",
    "\"integer\"",
    "\"boolean\"",
    "'[a-z]+'",
    "'('",
    "'(a*)*$'",
    "package = ",
    "dirs = [",
    "only = ",
    "url = ",
    "run = [",
    "init = ",
    "flags = ",
    "[service.flags]\n",
    "volumes = ",
    "volume = true",
    "ports = ",
    "ready = ",
    "{exec = ",
    "stop = ",
    "files = ",
    "env = ",
    "${with.x}",
    "${with.database}",
    "${program.postgres}",
    "${program.missing}",
    "${self.data}",
    "${self.port.sql}",
    "${self.host}",
    "${self.url}",
    "${session.id}",
    "${",
    "}",
    "$${",
    "\"\"\"",
    "true",
    "false",
    "1",
    "é",
    "\\u0000",
];
