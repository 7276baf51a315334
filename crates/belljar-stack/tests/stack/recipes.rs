//! Recipes: those that are compiled in, and those that a project writes itself.

use std::path::Path;

use belljar_stack::plan::Check;
use belljar_stack::{RecipeBook, SourceFile, Stack};
use insta::assert_snapshot;

use crate::{Everything, context, plan};

#[test]
fn every_recipe_of_belljar_describes_itself() {
    let book = RecipeBook::builtin();
    let names: Vec<_> = book.iter().map(|recipe| recipe.name.as_str()).collect();
    assert_eq!(names, ["nats", "postgres"]);
    for recipe in book.iter() {
        assert_eq!(book.get(&recipe.name).unwrap().name, recipe.name);
        assert!(!recipe.summary.is_empty() && recipe.source.text.contains("[service]"), "{}", recipe.name);
        assert!(recipe.outputs.iter().any(|output| output.name == "url"), "{}", recipe.name);
        assert!(recipe.programs.iter().all(|program| program.package.is_some()), "{}", recipe.name);
    }
}

#[test]
fn flags_follow_their_parameter() {
    let argv = |with: &str| {
        let plan = plan(&format!("[service.bus]\nuse = \"nats\"\nwith = {{ {with} }}\n")).unwrap();
        plan.services[0].replicas[0].argv.join(" ")
    };
    assert!(!argv("").contains("jetstream"));
    assert!(!argv("jetstream = false").contains("jetstream"));
    assert!(
        argv("jetstream = true").ends_with("--jetstream --store_dir /state/k3f9-x2ab/volumes/bus-1/data")
    );
}

#[test]
fn a_stack_says_it_better_than_the_recipe() {
    let plan = plan(
        r#"
        [service.bus]
        use = "nats"
        ports = { client = 5222 }
        ready = { within = "5s" }
        stop = { within = "1s" }
        env = { GOGC = "50" }
        [service.other]
        use = "nats"
        ready = { tcp = "client" }
        "#,
    )
    .unwrap();
    let bus = &plan.services[0];
    assert_eq!(bus.ports.iter().map(|port| port.port).collect::<Vec<_>>(), [5222, 8222]);
    assert_eq!(bus.outputs["url"], "nats://bus:5222");
    let ready = &bus.replicas[0].ready;
    assert!(matches!(&ready.check, Check::Http { port: 8222, path, .. } if path == "/healthz"));
    assert_eq!(ready.within.as_secs(), 5);
    assert_eq!((bus.stop.signal, bus.stop.within.as_secs()), (2, 1));
    assert_eq!(bus.replicas[0].env["GOGC"], "50");
    assert_eq!(plan.services[1].replicas[0].ready.check, Check::Tcp { ports: vec![4222] });
}

fn with_recipe(name: &str, text: &str) -> (tempfile::TempDir, Result<RecipeBook, String>) {
    let dir = tempfile::tempdir().unwrap();
    fs_err::create_dir(dir.path().join("recipes")).unwrap();
    fs_err::write(dir.path().join("recipes").join(name), text).unwrap();
    let shown = dir.path().display().to_string();
    let book = RecipeBook::with_dir(dir.path()).map_err(|faults| faults.to_string().replace(&shown, "DIR"));
    (dir, book)
}

#[test]
fn a_project_has_recipes_of_its_own_and_they_win() {
    let recipe = r#"
        summary = "our own bus"
        [parameters.topic]
        doc = "where to"
        [service]
        run = "bus --topic ${with.topic}"
        ports = { client = 1234 }
        [outputs]
        url = "bus://${self.addr.client}/${with.topic}"
    "#;
    let (dir, book) = with_recipe("nats.toml", recipe);
    let book = book.unwrap();
    assert_eq!(book.get("nats").unwrap().summary, "our own bus");
    assert!(book.get("postgres").is_some());
    let text = "[service.bus]\nuse = \"nats\"\nwith = { topic = \"x\" }\nreplicas = 2\n\
                [service.a]\nrun = \"a ${bus.url} ${bus-2.url}\"\n";
    let source = SourceFile { path: dir.path().join("belljar.toml"), text: text.to_owned() };
    let plan = Stack::parse(&source, &book).unwrap().plan(&context(), &Everything).unwrap();
    assert_eq!(plan.services[0].replicas[0].argv, ["bus", "--topic", "x"]);
    assert_eq!(plan.services[1].replicas[0].argv, ["a", "bus://bus:1234/x", "bus://bus-2:1234/x"]);

    let missing = SourceFile { path: source.path, text: "[service.bus]\nuse = \"nats\"\n".to_owned() };
    let faults = Stack::parse(&missing, &book).unwrap_err().to_string();
    let shown = faults.replace(&dir.path().display().to_string(), "DIR");
    assert_snapshot!(shown, @r#"
    error: the recipe `nats` needs `topic`
     --> DIR/belljar.toml:2:7
      |
    2 | use = "nats"
      |       ^^^^^^ this parameter is missing
      |
      = help: write `with = { topic = … }`: where to
    "#);
}

#[test]
fn faults_of_a_recipe_are_shown_in_its_own_file() {
    let recipe = r#"
summary = "broken"
[parameters.port]
type = "number"
doc = "x"
[parameters.name]
default = "UPPER"
pattern = "[a-z]+"
doc = "a lower-case name"
[service]
use = "postgres"
run = "${program.brokn} --user ${with.nmae}"
flags.nam = ["-x"]
[outputs]
url = "x://${self.port.sql}"
"#;
    let (_dir, book) = with_recipe("broken.toml", recipe);
    assert_snapshot!(book.unwrap_err(), @r#"
    error: `type` cannot be `number`
     --> DIR/recipes/broken.toml:4:8
      |
    4 | type = "number"
      |        ^^^^^^^^ expected `string`, `integer` or `boolean`

    error: `UPPER` does not fit `name`
     --> DIR/recipes/broken.toml:7:11
      |
    7 | default = "UPPER"
      |           ^^^^^^^ expected a text that matches `[a-z]+`
      |
      = help: a lower-case name

    error: the service of a recipe has no key `use`
      --> DIR/recipes/broken.toml:11:1
       |
    11 | use = "postgres"
       | ^^^ this key is unknown
       |
       = help: its keys: `run`, `shell`, `cwd`, `env`, `after`, `ports`, `ready`, `volume`, `volumes`, `files`, `stop`, `replicas`, `boot`, `restart`, `init`, `flags`

    error: both `use` and `run`
      --> DIR/recipes/broken.toml:12:1
       |
    11 | use = "postgres"
       | --- the other one
    12 | run = "${program.brokn} --user ${with.nmae}"
       | ^^^ expected only one of them

    error: there is no parameter `nam`
      --> DIR/recipes/broken.toml:13:7
       |
    13 | flags.nam = ["-x"]
       |       ^^^ flags are named after a parameter
       |
       = help: did you mean `name`?
    "#);
    let recipe = r#"
summary = "broken"
[parameters.name]
doc = "a name"
[programs.broken]
[service]
run = "${program.brokn} --user ${with.nmae} --data ${self.data}"
[outputs]
url = "x://${self.port.sql}/${self.url}/${self.index}"
"#;
    let (_dir, book) = with_recipe("broken.toml", recipe);
    assert_snapshot!(book.unwrap_err(), @r#"
    error: unknown reference `${program.brokn}`
     --> DIR/recipes/broken.toml:7:8
      |
    7 | run = "${program.brokn} --user ${with.nmae} --data ${self.data}"
      |        ^^^^^^^^^^^^^^^^ the recipe has no such program
      |
      = help: did you mean `broken`?

    error: unknown reference `${with.nmae}`
     --> DIR/recipes/broken.toml:7:32
      |
    7 | run = "${program.brokn} --user ${with.nmae} --data ${self.data}"
      |                                ^^^^^^^^^^^^ the recipe has no such parameter
      |
      = help: did you mean `name`?

    error: unknown reference `${self.data}`
     --> DIR/recipes/broken.toml:7:52
      |
    7 | run = "${program.brokn} --user ${with.nmae} --data ${self.data}"
      |                                                    ^^^^^^^^^^^^ `broken` has no volume `data`
      |
      = help: declare it: `volume = true`

    error: unknown reference `${self.port.sql}`
     --> DIR/recipes/broken.toml:9:12
      |
    9 | url = "x://${self.port.sql}/${self.url}/${self.index}"
      |            ^^^^^^^^^^^^^^^^ `broken` has no port `sql`

    error: unknown reference `${self.url}`
     --> DIR/recipes/broken.toml:9:29
      |
    9 | url = "x://${self.port.sql}/${self.url}/${self.index}"
      |                             ^^^^^^^^^^^ an output cannot be made of other outputs

    error: unknown reference `${self.index}`
     --> DIR/recipes/broken.toml:9:41
      |
    9 | url = "x://${self.port.sql}/${self.url}/${self.index}"
      |                                         ^^^^^^^^^^^^^ only a single replica has an index
    "#);
}

#[test]
fn a_recipe_that_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs_err::create_dir_all(dir.path().join("recipes/folder.toml")).unwrap();
    let faults = RecipeBook::with_dir(dir.path()).unwrap_err().to_string();
    let shown = faults.replace(&dir.path().display().to_string(), "DIR");
    assert_snapshot!(shown, @"
    error: this cannot be read
    --> DIR/recipes/folder.toml
     = note: failed to read from file `DIR/recipes/folder.toml`: Is a directory (os error 21)
    ");
}

#[test]
fn a_directory_without_recipes_is_no_fault() {
    let dir = tempfile::tempdir().unwrap();
    assert!(RecipeBook::with_dir(dir.path()).is_ok());
    assert!(RecipeBook::with_dir(Path::new("/does/not/exist")).is_ok());
}
