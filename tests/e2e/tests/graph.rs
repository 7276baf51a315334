//! `graph`: the picture of a stack, whatever is installed here.

use belljar_e2e::world;

const STACK: &str = r#"name = "shop"
[service.db]
use = "postgres"
with = { database = "shop", bin = "/nowhere" }
[task.migrate]
run = "bin/migrate"
after = ["db"]
[service.api]
run = "bin/api ${env.NOT_SET_ANYWHERE}"
replicas = 3
ports = { http = 8080 }
after = ["migrate", { db = "started" }]
"#;

#[test]
fn a_picture_shows_services_tasks_and_what_waits_for_what() {
    let env = world!();
    env.stack(STACK);
    // Neither the server nor the variable has to be there.
    let svg = env.run("graph").ok().stdout;
    assert!(svg.starts_with("<svg xmlns"), "{svg}");
    for text in
        [">shop<", ">db<", "recipe postgres", ">api<", ">×3<", "http 8080", "task: migrate", ">succeeded<"]
    {
        assert!(svg.contains(text), "`{text}` in {svg}");
    }
    assert!(svg.contains("prefers-color-scheme: dark"), "{svg}");
    env.run("graph --format dot")
        .ok()
        .prints(&["digraph \"shop\"", "\"db\" -> \"api\" [label = \"started\""]);
}

#[test]
fn it_goes_where_it_is_told_in_the_form_of_the_files_name() {
    let env = world!();
    env.stack(STACK);
    let read = |name: &str| fs_err::read_to_string(env.dir().join(name)).unwrap();
    env.run("graph -o stack.svg").ok().prints_exactly("");
    assert!(read("stack.svg").starts_with("<svg"));
    env.run("graph --output stack.dot").ok().prints_exactly("");
    assert!(read("stack.dot").starts_with("digraph"));
    let document = env.run("graph --format dot --json").json();
    assert_eq!((&document["format"], &document["stack"]), (&"dot".into(), &"shop".into()));
    assert_eq!(document["graph"], read("stack.dot"));
    env.run("graph -o no/where.svg").ends_with(1).complains(&["output-failed", "no/where.svg"]);
    env.stack("[service.api]\nrum = \"x\"\n");
    env.run("graph").ends_with(3).complains(&["rum"]);
}
