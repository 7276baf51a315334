//! `--set`, `--replicas`, `--override`, `--profile`, `--dry-run` and `--ttl`.

use std::time::Duration;

use belljar_e2e::{LONG, eventually, world};
use belljar_model::{ErrorCode, EventKind};
use serde_json::json;

const STACK: &str = r#"
    [service.api]
    run = "{fixture} http --port 8080 --name ${self.name}"
    ports = { http = 8080 }
    env = { LEVEL = "info" }

    [service.probe]
    run = "{fixture} stay"
    profiles = ["debug"]

    [task.look]
    run = "{fixture} exit 0 --say looked"
    after = ["probe"]
    profiles = ["debug", "look"]
"#;

#[test]
fn keys_and_numbers_of_replicas_are_given_other_values() {
    let env = world!();
    env.stack(STACK);
    env.belljar([
        "up",
        "--set",
        "service.api.env.LEVEL=two words",
        "--set",
        "env.ALL=7",
        "--replicas",
        "api=3",
    ])
    .run()
    .ok();
    env.run("exec api-3 -- {fixture} print-env LEVEL").ok().prints_exactly("two words\n");
    env.run("exec api-3 -- {fixture} print-env ALL").ok().prints_exactly("7\n");
}

#[test]
fn a_fault_of_a_flag_is_shown_at_the_flag() {
    let env = world!();
    env.stack(STACK);
    for (words, texts) in [
        (&["--set", "service.api.replica=3"][..], &["--set:1:13", "did you mean `replicas`?"][..]),
        (&["--set", "service.api.replicas=many"], &["--set:1:22", "expected a whole number from 1 to 200"]),
        (&["--set", "nothing"], &["--set:1:1", "expected KEY=VALUE"]),
        (&["--replicas", "apy=3"], &["--replicas:1:1", "did you mean `api`?"]),
        (&["--override", "api=bin/none"], &["--override:1:5", "expected the path of an executable file"]),
        (&["--override", "apy=bin/fixture"], &["--override:1:1", "did you mean `api`?"]),
        (&["--profile", "dbug"], &["--profile:1:1", "did you mean `debug`?"]),
        (&["--profile", "look"], &["`probe` is there only with the profile `debug`", "`--profile debug`"]),
    ] {
        env.belljar(["up"].into_iter().chain(words.iter().copied())).run().ends_with(3).complains(texts);
    }
    env.run("up --ttl soon").ends_with(2);
    env.run("up --ttl 0s").ends_with(2).complains(&["no time at all"]);
    assert!(!env.state_dir().exists(), "nothing was made");
}

#[test]
fn another_program_runs_in_place_of_a_services_own() {
    let env = world!();
    env.stack(STACK);
    env.script("build/debug/api", "#!/bin/sh\necho the debug build: \"$@\"\nexec {fixture} \"$@\"\n");
    // As the caller sees it, wherever he is.
    env.belljar(["up", "--override", "api=debug/api"]).cwd(env.dir().join("build")).run().ok();
    env.run("logs api-1").ok().prints(&["the debug build: http --port 8080 --name api-1"]);
    env.run("up --forget").ok().complains(&["restart api-1 (run)"]);
    // A session has a /tmp of its own, which is made before anybody says that a program lies there.
    let elsewhere = tempfile::Builder::new().prefix("bj-").tempdir_in("/tmp").unwrap();
    let program = elsewhere.path().join("api");
    fs_err::copy(env.dir().join("build/debug/api"), &program).unwrap();
    let program = format!("api={}", program.display());
    env.belljar(["up", "--override", &program])
        .run()
        .ends_with(7)
        .complains(&["has a /tmp of its own", "the next one shows them"]);
    env.run("down").ok();
    env.belljar(["up", "--override", &program]).run().ok();
}

#[test]
fn profiles_bring_what_is_there_only_for_them() {
    let env = world!();
    env.stack(STACK);
    env.up();
    assert!(env.ps()["services"].get("probe").is_none());
    env.run("up --profile debug").ok().complains(&["start probe-1", "look"]);
    assert_eq!(env.ps()["tasks"]["look"]["state"], "succeeded");
    env.run("up").ok().complains(&["is ready already"]);
    env.run("up --forget").ok().complains(&["stop probe-1"]);
}

#[test]
fn a_dry_run_plans_everything_and_makes_nothing() {
    let env = world!();
    env.stack(STACK);
    env.run("up --dry-run --replicas api=2")
        .ok()
        .prints(&["api-2 at 10.77.1.2"])
        .complains(&["nothing was started"]);
    env.run("up --plan --json").ok().document();
    assert!(!env.state_dir().exists(), "nothing was made");
    env.run("up --dry-run --set service.api.use=postgres").ends_with(3).complains(&["both `use` and `run`"]);
    env.stack("[service.db]\nuse = \"postgres\"\nwith = { bin = \"/nowhere\" }\n");
    env.run("up --dry-run --json").json_error(ErrorCode::ServerNotInstalled);
    env.stack(STACK);
    env.run("up --name taken").ok();
    env.run("up --dry-run --name taken --json").json_error(ErrorCode::SessionNameTaken);
    // Where it runs, what would change is what a dry run shows.
    env.run("up --new").ok();
    env.run("up --dry-run --replicas api=2").ok().prints(&["would change", "start api-2"]);
}

#[test]
fn a_session_ends_when_its_time_has_run_out() {
    let env = world!();
    env.stack(STACK);
    env.run("up --ttl 2h").ok();
    let listed = env.run("ls --json").json()["sessions"][0].clone();
    let left = listed["left_ms"].as_u64().unwrap();
    assert!((7_100_000..=7_200_000).contains(&left), "{listed:#}");
    env.run("ls").ok().prints(&["LEFT", "1h59m"]);
    // Another time from now on, also a shorter one.
    env.run("up --ttl 300ms").ok().complains(&["is ready already", "it ends by itself in 300ms"]);
    eventually("the session has ended", LONG, || {
        (env.run("ls --json").json()["sessions"].as_array().unwrap().is_empty()).then_some(())
    });
    env.nothing_is_left_within(Duration::from_secs(1));
    let all = env.run("ls --all --json").json()["sessions"][0].clone();
    assert_eq!((&all["state"], &all["left_ms"]), (&json!("ended"), &json!(null)));
    let events = env.events();
    let why = "its time to live ran out";
    assert!(events.iter().any(|one| matches!(one.kind, EventKind::SessionExpires { within_ms: 300 })));
    assert!(
        events.iter().any(|one| matches!(&one.kind, EventKind::SessionEnded { why: told } if told == why))
    );
    let ended = |kind: &EventKind| matches!(kind, EventKind::ReplicaExited { exit, .. } if exit.signal.as_deref() == Some("SIGTERM"));
    assert!(events.iter().any(|one| ended(&one.kind)), "in order");
    assert!(!env.root().join("state/sessions/by-stack").exists(), "its link is gone too");
}
