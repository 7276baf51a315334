//! `up --watch`: services are started again when their programs really change.

use belljar_e2e::{LONG, TestEnv, eventually, world};
use belljar_model::EventKind;
use serde_json::json;

const STACK: &str = r#"
    [service.api]
    run = "bin/app http --port 8080"
    ports = { http = 8080 }
    replicas = 2
    watch = ["config/**/*.toml"]

    [service.db]
    run = "{fixture} tcp --port 5432"
    ports = { sql = 5432 }
"#;

/// A build: another program, which does the same, moved into its place.
fn build(env: &TestEnv, what: &str) {
    let mut program = fs_err::read(env.fixture()).unwrap();
    program.extend_from_slice(what.as_bytes());
    let fresh = env.dir().join("bin/.app.new");
    fs_err::write(&fresh, program).unwrap();
    fs_err::set_permissions(&fresh, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fs_err::rename(fresh, env.dir().join("bin/app")).unwrap();
}

fn until_generation(env: &TestEnv, generation: u32) {
    for name in ["api-1", "api-2"] {
        eventually(&format!("{name} has been started {generation} times"), LONG, || {
            let replica = env.replica(name);
            (replica["generation"] == generation && replica["state"] == "ready").then_some(())
        });
    }
}

/// Which files were told of, in the order of the events.
fn told(env: &TestEnv) -> Vec<Vec<String>> {
    let files = |kind: EventKind| match kind {
        EventKind::FilesChanged { service, files } => {
            assert_eq!(service.as_str(), "api");
            let below =
                |file: &std::path::PathBuf| file.strip_prefix(env.dir()).unwrap().display().to_string();
            Some(files.iter().map(below).collect())
        }
        _ => None,
    };
    env.events().into_iter().filter_map(|event| files(event.kind)).collect()
}

#[test]
fn a_program_that_changes_is_started_again_and_nothing_else() {
    let env = world!();
    env.stack(STACK);
    build(&env, "one");
    env.run("up --watch").ok();
    build(&env, "two");
    until_generation(&env, 2);
    assert_eq!(told(&env), [["bin/app"]]);
    let by = env.events().into_iter().find_map(|event| match event.kind {
        EventKind::ReplicaStarting { generation: 2, by, .. } => Some(serde_json::to_value(by).unwrap()),
        _ => None,
    });
    assert_eq!(by, Some(json!("watch")));
    assert_eq!(env.replica("db-1")["generation"], 1);
    // The same bytes again are no change; what comes after them shows that they were looked at.
    build(&env, "two");
    env.write("config/deep/new.toml", "x = 1");
    until_generation(&env, 3);
    assert_eq!(told(&env)[1..], [["config/deep/new.toml"]]);
}

#[test]
fn one_that_is_written_in_place_counts_when_it_is_closed() {
    let env = world!();
    env.stack(STACK);
    build(&env, "one");
    env.run("up --watch").ok();
    let program = fs_err::read(env.dir().join("bin/app")).unwrap();
    // A program that runs cannot be written to: whoever builds in place removes it first.
    fs_err::remove_file(env.dir().join("bin/app")).unwrap();
    let mut file = fs_err::File::create(env.dir().join("bin/app")).unwrap();
    fs_err::set_permissions(env.dir().join("bin/app"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let (half, rest) = program.split_at(program.len() / 2);
    std::io::Write::write_all(&mut file, half).unwrap();
    // Something else that is looked at while the program is half there.
    env.write("config/a.toml", "a = 1");
    until_told(&env, 1);
    assert_eq!(told(&env), [["config/a.toml"]], "half a program is none");
    std::io::Write::write_all(&mut file, rest).unwrap();
    std::io::Write::write_all(&mut file, b"two").unwrap();
    drop(file);
    until_told(&env, 2);
    assert_eq!(told(&env)[1], ["bin/app"]);
    eventually("both are ready", LONG, || (env.ps()["state"] == "ready").then_some(()));
}

fn until_told(env: &TestEnv, count: usize) {
    eventually(&format!("{count} changes were told"), LONG, || (told(env).len() >= count).then_some(()));
}

#[test]
fn it_is_switched_on_and_follows_the_stack_while_the_session_runs() {
    let env = world!();
    env.stack(STACK);
    build(&env, "one");
    env.up();
    build(&env, "two");
    env.run("up --watch").ok();
    build(&env, "three");
    until_generation(&env, 2);
    assert_eq!(told(&env).len(), 1, "what changed before nobody watched is no news");
    env.stack(&STACK.replace("config/**/*.toml", "other.json"));
    env.run("up").ok().complains(&["watch, and nothing is started again"]);
    env.write("config/a.toml", "a = 1");
    env.write("other.json", "{}");
    until_generation(&env, 3);
    assert_eq!(told(&env)[1], ["other.json"]);
}

#[test]
fn a_program_that_crashed_is_started_when_it_is_mended() {
    let env = world!();
    env.stack(&STACK.replace("replicas = 2", "replicas = 1"));
    build(&env, "one");
    env.run("up --watch").ok();
    env.run("exec -- {fixture} get http://api:8080/exit/3").ok();
    env.until_replica("api-1", "failed");
    build(&env, "two");
    env.until_replica("api-1", "ready");
    assert_eq!(env.ps()["state"], "ready");
}
