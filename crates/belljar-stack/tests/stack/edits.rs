//! What is said besides the file, checked as the file is.

use std::path::PathBuf;

use belljar_stack::{Edits, Faults, Given, SourceFile, Stack};
use insta::assert_snapshot;

const FILE: &str = "\
[service.api]
run = \"serve\"
replicas = 3
env = { LOG = \"info\" }

[service.debugger]
run = \"debug ${api.host}\"
profiles = [\"debug\"]
";

fn parse(text: &str, edits: Edits) -> Result<Stack, Faults> {
    let file = SourceFile { path: PathBuf::from("/x/belljar.toml"), text: text.to_owned() };
    Given { file, recipes: Vec::new(), edits }.parse()
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|one| (*one).to_owned()).collect()
}

fn set(list: &[&str]) -> Edits {
    Edits { set: texts(list), ..Edits::default() }
}

fn plan(edits: Edits) -> belljar_stack::Plan {
    let context = belljar_stack::Context {
        session_id: belljar_model::SessionId::from_random(7),
        session_name: belljar_model::SessionName::new("x").unwrap(),
        session_dir: PathBuf::from("/state"),
        seed: 1,
        host_env: [("PATH".to_owned(), "/usr/bin:/bin".to_owned()), ("OTHER".to_owned(), "x".to_owned())]
            .into(),
        leased: None,
    };
    let programs = belljar_stack::HostPrograms { path: "/usr/bin:/bin".to_owned() };
    parse(FILE, edits).unwrap().plan(&context, &programs).unwrap()
}

#[track_caller]
fn faults(text: &str, edits: Edits) -> String {
    parse(text, edits).expect_err("it has faults").to_string()
}

#[test]
fn values_are_toml_or_else_strings() {
    let plan = plan(set(&[
        "service.api.replicas=2",
        "service.api.env.LOG=debug",
        "service.api.env.\"A.B\"=\"x = y\"",
        "service.api.ports={http=80}",
        "env.ALL=a=b",
        "service.new.run=[\"one\", \"two\"]",
    ]));
    assert_eq!(plan.services.len(), 2);
    assert_eq!(plan.services[0].replicas.len(), 2);
    let api = &plan.services[0].replicas[1];
    assert_eq!((&*api.env["LOG"], &*api.env["A.B"], &*api.env["ALL"]), ("debug", "x = y", "a=b"));
    assert_eq!(plan.services[0].ports[0].port, 80);
    assert_eq!(plan.services[1].replicas[0].argv, ["one", "two"]);
    assert_eq!(plan.host_env.keys().collect::<Vec<_>>(), ["PATH"], "what was looked at, and nothing else");
}

#[test]
fn a_table_is_replaced_whole_and_the_last_word_counts() {
    let plan = plan(set(&["service.api.env={NEW=\"1\"}", "service.api.env.NEW=2"]));
    let env = &plan.services[0].replicas[0].env;
    assert!(!env.contains_key("LOG"));
    assert_eq!(env["NEW"], "2");
}

#[test]
fn replicas_profiles_and_programs() {
    let edits = Edits {
        replicas: texts(&["api=5"]),
        profiles: texts(&["debug"]),
        programs: texts(&["api=/bin/sh"]),
        ..Edits::default()
    };
    let plan = plan(edits);
    assert_eq!(plan.services[0].replicas.len(), 5);
    assert_eq!(plan.services[0].replicas[4].argv, ["/bin/sh"]);
    assert_eq!(plan.services[1].replicas[0].address.octets(), [10, 77, 2, 1]);
}

#[test]
fn a_fault_is_shown_where_it_was_said() {
    assert_snapshot!(faults(FILE, set(&["service.api.replica=5"])), @r#"
    error: a service has no key `replica`
     --> --set:1:13
      |
    1 | service.api.replica=5
      |             ^^^^^^^ this key is unknown
      |
      = help: did you mean `replicas`?
    "#);
    assert_snapshot!(faults(FILE, set(&["service.api.env.LOG=info", "service.api.replicas=many"])), @r#"
    error: a string does not fit here
     --> --set:1:22
      |
    1 | service.api.replicas=many
      |                      ^^^^ expected a whole number from 1 to 200
    "#);
    assert_snapshot!(faults(FILE, set(&["service.api.run.x=1"])), @r#"
    error: `run` is not a table
     --> --set:1:13
      |
    1 | service.api.run.x=1
      |             ^^^ the stack file gives it a single value, which has no keys below it
    "#);
    assert_snapshot!(faults(FILE, set(&["service.api"])), @r#"
    error: `service.api` does not set anything
     --> --set:1:1
      |
    1 | service.api
      | ^^^^^^^^^^^ expected KEY=VALUE, as in `service.api.env.LOG=debug`
    "#);
    assert_snapshot!(faults(FILE, set(&["a b=c"])), @r#"
    error: this is not a key
     --> --set:1:1
      |
    1 | a b=c
      | ^^^ expected KEY=VALUE, as in `service.api.env.LOG=debug`
    "#);
    assert_snapshot!(faults(FILE, set(&["service.api.env.X=${bd.url}"])), @r#"
    error: unknown reference `${bd.url}`
     --> --set:1:19
      |
    1 | service.api.env.X=${bd.url}
      |                   ^^^^^^^^^ there is no service `bd`
      |
      = help: services: `api`, `debugger`
    "#);
}

#[test]
fn faults_of_other_flags() {
    let replicas = |one: &str| Edits { replicas: texts(&[one]), ..Edits::default() };
    assert_snapshot!(faults(FILE, replicas("apy=5")), @r#"
    error: there is no service `apy`
     --> --replicas:1:1
      |
    1 | apy=5
      | ^^^ the stack file has no such service
      |
      = help: did you mean `api`?
    "#);
    assert_snapshot!(faults(FILE, replicas("api=0")), @r#"
    error: 0 is out of range
     --> --replicas:1:5
      |
    1 | api=0
      |     ^ expected a whole number from 1 to 200
    "#);
    assert_snapshot!(faults(FILE, replicas("api")), @r#"
    error: `api` does not set anything
     --> --replicas:1:1
      |
    1 | api
      | ^^^ expected SERVICE=NUMBER, as in `api=5`
    "#);
    let programs = |one: &str| Edits { programs: texts(&[one]), ..Edits::default() };
    assert_snapshot!(faults(FILE, programs("apy=/bin/sh")), @r#"
    error: there is no service `apy`
     --> --override:1:1
      |
    1 | apy=/bin/sh
      | ^^^ the stack file has no such service
      |
      = help: did you mean `api`?
    "#);
    assert_snapshot!(faults("[service.a]\nshell = \"x\"\n", programs("a=/bin/sh")), @r#"
    error: `a` runs a script
     --> --override:1:1
      |
    1 | a=/bin/sh
      | ^ only the program of a `run` can be another one
      |
     ::: /x/belljar.toml:2:9
      |
    2 | shell = "x"
      |         --- the script
    "#);
    assert_snapshot!(faults(FILE, Edits { profiles: texts(&["dbug"]), ..Edits::default() }), @r#"
    error: there is no profile `dbug`
     --> --profile:1:1
      |
    1 | dbug
      | ^^^^ no service and no task of the stack file has it
      |
      = help: did you mean `debug`?
    "#);
}

#[test]
fn what_depends_on_an_inactive_part_is_told_its_profile() {
    let text = format!("{FILE}\n[service.web]\nrun = \"web ${{debugger.host}}\"\nafter = [\"debugger\"]\n");
    assert_snapshot!(faults(&text, Edits::default()), @r#"
    error: unknown reference `${debugger.host}`
      --> /x/belljar.toml:11:12
       |
    11 | run = "web ${debugger.host}"
       |            ^^^^^^^^^^^^^^^^ `debugger` is there only with the profile `debug`
       |
       = help: ask for it: `--profile debug`

    error: `debugger` is there only with the profile `debug`
      --> /x/belljar.toml:12:10
       |
    12 | after = ["debugger"]
       |          ^^^^^^^^^^ this comes after something that does not start
       |
       = help: ask for it: `--profile debug`
    "#);
    parse(&text, Edits { profiles: texts(&["debug"]), ..Edits::default() }).unwrap();
}
