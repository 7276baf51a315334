//! `health`: what is watched after a replica is ready.

use belljar_e2e::{LONG, TestEnv, eventually, world};
use belljar_model::{ErrorCode, EventKind};

const WATCHED: &str = r#"
[service.web]
run = "{fixture} http --port 80 --fail-health {dir}/sick"
ports = { http = 80 }
ready = { http = "/health" }
restart = "always"
health = { every = "20ms", within = "100ms" }
"#;

fn kinds(env: &TestEnv) -> Vec<EventKind> {
    env.events().into_iter().map(|event| event.kind).collect()
}

#[test]
fn it_turns_and_turns_back_and_nobody_restarts_it() {
    let env = world!();
    env.stack(WATCHED);
    env.up();
    let pid = env.replica("web-1")["pid"].clone();
    env.write("sick", "");
    env.run("wait web --for unhealthy --within 20s").ok();
    env.run("ps").ok().prints(&["degraded: web-1 is unhealthy"]);
    // It serves all the same: only its health is not there.
    env.run("exec -- {fixture} get http://web/ --timeout 5000").ok();
    fs_err::remove_file(env.dir().join("sick")).unwrap();
    env.run("wait web --for ready --within 20s").ok();
    let replica = env.replica("web-1");
    assert_eq!((&replica["pid"], &replica["generation"]), (&pid, &1.into()), "{replica}");
    let turns: Vec<EventKind> = kinds(&env)
        .into_iter()
        .filter(|one| matches!(one, EventKind::ReplicaUnhealthy { .. } | EventKind::ReplicaHealthy { .. }))
        .collect();
    let [EventKind::ReplicaUnhealthy { why, last_lines, .. }, EventKind::ReplicaHealthy { .. }] = &turns[..]
    else {
        panic!("one turn and one turn back: {turns:#?}");
    };
    assert!(why.contains("503"), "{why}");
    assert!(last_lines.iter().any(|line| line.contains("listening")), "{last_lines:?}");
    env.run("events").ok().prints(&["replica.unhealthy", "replica.healthy"]);
    env.run("down").ok();
}

#[test]
fn one_that_is_told_to_restarts_it() {
    let env = world!();
    env.stack(&WATCHED.replace("within = \"100ms\"", "within = \"100ms\", restart = true"));
    env.up();
    env.write("sick", "");
    eventually("it is restarted", LONG, || {
        kinds(&env).iter().any(|one| matches!(one, EventKind::RestartRequested { .. })).then_some(())
    });
    fs_err::remove_file(env.dir().join("sick")).unwrap();
    env.run("wait web --for ready --within 20s").ok();
    assert_ne!(env.replica("web-1")["generation"], 1);
}

#[test]
fn a_paused_replica_is_not_judged() {
    let env = world!();
    env.stack(WATCHED);
    env.up();
    env.run("pause web").ok();
    let error = env.run("wait web --for unhealthy --within 500ms --json").json_error(ErrorCode::WaitTimedOut);
    assert!(error.contains("web-1 is paused"), "{error}");
    env.write("sick", "");
    env.run("resume web").ok();
    env.run("wait web --for unhealthy --within 20s").ok();
    // What was paused while it was unhealthy is so still, and turns back all the same.
    env.run("pause web").ok();
    fs_err::remove_file(env.dir().join("sick")).unwrap();
    env.run("resume web").ok();
    env.run("wait web --for ready --within 20s").ok();
}

#[test]
fn commands_ports_and_files_are_watched_too() {
    let env = world!();
    env.stack(
        r#"
[service.port]
shell = "{fixture} tcp --port 7000 & echo $! > {dir}/pid; exec {fixture} stay"
ports = { main = 7000 }
health = { every = "20ms", within = "0s" }
[service.command]
run = "{fixture} stay"
health = { exec = ["test", "-e", "{dir}/well"], every = "20ms", within = "0s" }
[service.file]
run = "{fixture} stay"
health = { file = "{dir}/well", every = "20ms", within = "0s" }
"#,
    );
    env.write("well", "");
    env.up();
    env.belljar(["exec", "port-1", "--", "sh", "-c", "kill $(cat {dir}/pid)"]).run().ok();
    fs_err::remove_file(env.dir().join("well")).unwrap();
    for service in ["port", "command", "file"] {
        env.run(&format!("wait {service} --for unhealthy --within 20s")).ok();
    }
    env.write("well", "");
    for service in ["command", "file"] {
        env.run(&format!("wait {service} --for ready --within 20s")).ok();
    }
}
