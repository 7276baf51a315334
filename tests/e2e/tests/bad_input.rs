//! Stacks, machines and command lines that are wrong: a clear error each, the right code, nothing left.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use belljar_e2e::{is_root, world};
use belljar_model::ErrorCode;

const WEB: &str = "[service.web]\nrun = \"{fixture} http --port 80\"\nports = { http = 80 }\n";

#[test]
fn check_shows_every_fault_at_once_each_at_its_place() {
    let env = world!();
    env.stack(
        r#"colour = "green"

[service.api]
run = "{fixture} stay"
replica = 3
after = ["bd"]
env = { URL = "${db.hots}" }

[service.db]
run = "{fixture} stay"
restart = "sometimes"
after = ["api2"]
"#,
    );
    let output = env.run("check").ends_with(3).complains(&[
        "colour",
        "replica",
        "replicas",
        "bd",
        "db",
        "hots",
        "sometimes",
        "on-failure",
        "api2",
        "belljar.toml:1",
        "belljar.toml:5",
        "belljar.toml:6",
        "belljar.toml:7",
        "belljar.toml:11",
        "belljar.toml:12",
    ]);
    assert_eq!(output.stdout, "");
    // Whatever needs the stack says the same and starts nothing.
    for words in ["up", "plan", "test"] {
        env.run(words).ends_with(3).complains(&["replicas", "sometimes"]);
    }
    env.nothing_is_left_within(Duration::from_secs(1));
}

#[test]
fn an_error_with_json_is_one_document_on_stderr() {
    let env = world!();
    env.stack("[service.web]\nrun = \"x\"\nreplica = 2\n");
    let message = env.run("check --json").json_error(ErrorCode::StackInvalid);
    assert!(message.contains("replica"), "{message}");
    env.run("up --json").json_error(ErrorCode::StackInvalid);
    fs_err::remove_file(env.dir().join("belljar.toml")).unwrap();
    env.run("up --json").json_error(ErrorCode::StackNotFound);
}

#[test]
fn each_kind_of_fault_is_an_invalid_stack() {
    let stacks = [
        ("not toml", "[service.web\n"),
        ("no command", "[service.web]\nports = { http = 80 }\n"),
        ("command and recipe", "[service.web]\nrun = \"x\"\nuse = \"postgres\"\n"),
        ("unknown recipe", "[service.web]\nuse = \"postgers\"\n"),
        ("unknown parameter", "[service.db]\nuse = \"postgres\"\nwith = { databse = \"x\" }\n"),
        (
            "a cycle",
            "[service.a]\nrun = \"x\"\nafter = [\"b\"]\n[service.b]\nrun = \"x\"\nafter = [\"c\"]\n[service.c]\nrun = \"x\"\nafter = [\"a\"]\n",
        ),
        ("itself", "[service.a]\nrun = \"x\"\nafter = [\"a\"]\n"),
        ("unknown port", "[service.a]\nrun = \"x\"\nports = { http = 80 }\nready = { tcp = \"htpt\" }\n"),
        (
            "two checks",
            "[service.a]\nrun = \"x\"\nports = { http = 80 }\nready = { tcp = \"http\", log = \"x\" }\n",
        ),
        ("no check", "[service.a]\nrun = \"x\"\nready = { within = \"1s\" }\n"),
        ("bad duration", "[service.a]\nrun = \"x\"\nready = { log = \"x\", within = \"soon\" }\n"),
        ("bad regex", "[service.a]\nrun = \"x\"\nready = { log = \"(\" }\n"),
        ("bad signal", "[service.a]\nrun = \"x\"\nstop = { signal = \"SIGNOPE\" }\n"),
        ("bad name", "[service.api-2]\nrun = \"x\"\n"),
        ("one name twice", "[service.a]\nrun = \"x\"\n[task.a]\nrun = \"x\"\n"),
        ("no replicas", "[service.a]\nrun = \"x\"\nreplicas = 0\n"),
        ("a port too high", "[service.a]\nrun = \"x\"\nports = { http = 70000 }\n"),
        (
            "succeeded of a service",
            "[service.a]\nrun = \"x\"\n[service.b]\nrun = \"x\"\nafter = { a = \"succeeded\" }\n",
        ),
        ("an open quote", "[service.a]\nrun = \"x 'y\"\n"),
        ("an unset variable", "[service.a]\nrun = \"x\"\nenv = { A = \"${env.NOT_SET_ANYWHERE}\" }\n"),
        ("not built yet", "[service.a]\nrun = \"x\"\nports = { http = 80 }\nimage = \"x\"\n"),
        ("published and no port", "[service.a]\nrun = \"x\"\nports = { http = 80 }\npublish = [\"htpp\"]\n"),
        ("no address", "host_services = { a = \"5000\" }\n[service.b]\nrun = \"x\"\n"),
        ("reserved", "egress = \"open\"\n[service.a]\nrun = \"x\"\n"),
    ];
    let env = world!();
    for (what, text) in stacks {
        env.stack(text);
        let output = env.run("check");
        assert_eq!(output.code(), 3, "{what}: {output}");
        assert!(output.stderr.contains("belljar.toml:"), "{what} at its place: {output}");
        assert_eq!(output.stdout, "", "{what}");
    }
}

#[test]
fn a_whole_cycle_is_shown() {
    let env = world!();
    env.stack("[service.a]\nrun = \"x\"\nafter = [\"b\"]\n[service.b]\nrun = \"x\"\nafter = [\"c\"]\n[service.c]\nrun = \"x\"\nafter = [\"a\"]\n");
    let output = env.run("check").ends_with(3);
    // All of it in one line, wherever it begins.
    let shown = ["abca", "bcab", "cabc"];
    let is_whole = |line: &str| {
        let names: String = line.split('`').skip(1).step_by(2).collect();
        shown.contains(&names.as_str())
    };
    assert!(output.stderr.lines().any(is_whole), "{output}");
}

#[test]
fn a_good_stack_checks_and_plans() {
    let env = world!();
    env.stack(WEB);
    env.run("check").ok();
    env.run("check --json").json();
    env.run("plan").ok().prints(&["web-1"]);
    let plan = env.run("plan --json").json();
    assert!(plan.to_string().contains("web-1"), "{plan:#}");
    assert_eq!(env.run("plan --json").json(), plan, "the same each time");
    assert!(!env.state_dir().exists() || env.files_named("events.jsonl").is_empty(), "nothing was started");
}

#[test]
fn a_binary_that_is_missing_is_told_by_its_name() {
    let env = world!();
    env.stack("[service.web]\nrun = \"no-such-server --flag\"\nports = { http = 80 }\n");
    let output = env.run("up").complains(&["web", "no-such-server"]);
    assert!([3, 5].contains(&output.code()), "{output}");
    env.nothing_is_left_within(Duration::from_secs(1));
    env.stack("[service.web]\nrun = \"./not-here\"\nports = { http = 80 }\n");
    let output = env.run("up").complains(&["web", "not-here"]);
    assert!([3, 5].contains(&output.code()), "{output}");
    env.write("plain", "no program\n");
    env.stack("[service.web]\nrun = \"./plain\"\nports = { http = 80 }\n");
    let output = env.run("up").complains(&["web", "plain"]);
    assert!([3, 5].contains(&output.code()), "{output}");
    env.nothing_is_left_within(Duration::from_secs(1));
}

#[test]
fn a_working_directory_that_is_missing_is_told() {
    let env = world!();
    env.stack("[service.web]\nrun = \"{fixture} stay\"\ncwd = \"nowhere\"\n");
    let output = env.run("up").complains(&["web", "nowhere"]);
    assert!([3, 5].contains(&output.code()), "{output}");
}

#[test]
fn an_unusable_state_directory_is_told() {
    let env = world!();
    env.stack(WEB);
    // Below a file nobody can make a directory, not even root.
    let file = env.write("a-file", "x\n");
    let mut unusable = vec![file.join("state"), file.clone(), "/proc/belljar-state".into()];
    let closed = env.root().join("closed");
    fs_err::create_dir(&closed).unwrap();
    if !is_root() {
        fs_err::set_permissions(&closed, std::fs::Permissions::from_mode(0o555)).unwrap();
        unusable.push(closed.join("state"));
    }
    for path in unusable {
        let message = env.belljar(["up", "--json"]).env("BELLJAR_STATE_DIR", path.clone()).run();
        let message = message.json_error(ErrorCode::StateDirUnusable);
        assert!(message.contains(path.to_str().unwrap()), "{message}");
        env.belljar(["run", "--", "true"]).env("BELLJAR_STATE_DIR", path).run().ends_with(125);
    }
    // What can never be a directory is no empty one.
    for path in [file.join("state"), file] {
        env.belljar(["ls", "--json"])
            .env("BELLJAR_STATE_DIR", path)
            .run()
            .json_error(ErrorCode::StateDirUnusable);
    }
    env.nothing_is_left_within(Duration::from_secs(1));
}

#[test]
fn long_paths_of_state_and_runtime_directories_work() {
    let env = world!();
    env.stack(WEB);
    let long = env.root().join("a-directory-whose-name-alone-is-long".repeat(4));
    fs_err::create_dir(&long).unwrap();
    fs_err::set_permissions(&long, std::fs::Permissions::from_mode(0o700)).unwrap();
    let with = |words: &[&'static str]| {
        env.belljar(words.iter().copied())
            .env("BELLJAR_STATE_DIR", long.join("state"))
            .env("XDG_RUNTIME_DIR", &long)
    };
    // A unix socket's path ends at 107 bytes, which these are beyond.
    with(&["up"]).run().ok();
    with(&["exec", "--", "{fixture}", "get", "http://web/"]).run().ok();
    with(&["down"]).run().ok();
    with(&["run", "--", "sh", "-c", "belljar ps --json"]).run().ok();
}

#[test]
fn a_missing_runtime_directory_is_no_obstacle() {
    let env = world!();
    env.stack(WEB);
    env.belljar(["run", "--", "sh", "-c", "belljar ps --json"]).env_remove("XDG_RUNTIME_DIR").run().ok();
    env.belljar(["run", "--", "true"]).env("XDG_RUNTIME_DIR", "/nowhere/at/all").run().ok();
}

#[test]
fn a_missing_home_is_no_obstacle() {
    let env = world!();
    env.stack(WEB);
    env.belljar(["run", "--", "true"]).env_remove("HOME").run().ok();
    env.belljar(["run", "--", "true"]).env("HOME", "/nowhere/at/all").run().ok();
}

#[test]
fn a_path_with_spaces_and_letters_of_the_world_works() {
    let env = world!();
    let dir = env.dir().join("ein Projekt – mit Ärger");
    fs_err::create_dir(&dir).unwrap();
    env.write("ein Projekt – mit Ärger/belljar.toml", WEB);
    let output = env.belljar(["run", "--", "{fixture}", "get", "http://web/"]).cwd(&dir).run().ok();
    assert_eq!(output.stdout, "fixture\n");
    let up = env.belljar(["up", "--json"]).cwd(&dir).run().json();
    assert!(belljar_model::SessionName::new(up["name"].as_str().unwrap()).is_ok(), "{up:#}");
    env.belljar(["down"]).cwd(&dir).run().ok();
}
