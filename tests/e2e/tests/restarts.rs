//! What happens after a replica has died by itself.

use std::time::Duration;

use belljar_e2e::{LONG, TestEnv, eventually, world};
use belljar_model::{Cause, EventKind};

const CRASHING: &str = r#"
    [service.web]
    run = "{fixture} http --port 80"
    ports = { http = 80 }
    restart = "POLICY"
"#;

fn up_with(policy: &str) -> Option<TestEnv> {
    if belljar_e2e::lacks_sealing() {
        return None;
    }
    let env = TestEnv::new();
    env.stack(&CRASHING.replace("POLICY", policy));
    env.up();
    Some(env)
}

/// Lets the server end itself with this code.
fn dies(env: &TestEnv, code: i32) {
    let output = env.run(&format!("exec -- {{fixture}} get http://web/exit/{code}"));
    drop(output);
}

#[test]
fn never_leaves_a_dead_replica_dead_and_the_session_degraded() {
    let Some(env) = up_with("never") else { return };
    dies(&env, 3);
    let replica = env.until_replica("web-1", "failed");
    assert_eq!(replica["exit"]["code"], 3);
    assert!(replica["last_lines"].to_string().contains("listening on"), "{replica:#}");
    assert_eq!(env.ps()["state"], "degraded");
    let events = env.events();
    assert!(events.iter().any(|event| matches!(event.kind, EventKind::SessionDegraded { .. })));
    assert_eq!(env.replica("web-1")["generation"], 1);
    env.run("start web-1").ok();
    assert_eq!(env.ps()["state"], "ready", "what was missing is there again");
}

#[test]
fn on_failure_restarts_what_failed_and_not_what_ended_well() {
    let Some(env) = up_with("on-failure") else { return };
    dies(&env, 3);
    eventually("it is back", LONG, || {
        let replica = env.replica("web-1");
        (replica["state"] == "ready" && replica["generation"] == 2).then_some(())
    });
    let by_policy = env.events().into_iter().any(|event| {
        matches!(event.kind, EventKind::ReplicaStarting { generation: 2, by: Cause::RestartPolicy, .. })
    });
    assert!(by_policy);
    dies(&env, 0);
    let replica = env.until_replica("web-1", "exited");
    assert_eq!(replica["generation"], 2);
}

#[test]
fn always_restarts_what_ended_well_too() {
    let Some(env) = up_with("always") else { return };
    dies(&env, 0);
    eventually("it is back", LONG, || {
        let replica = env.replica("web-1");
        (replica["state"] == "ready" && replica["generation"] == 2).then_some(())
    });
}

#[test]
fn what_was_ended_on_purpose_stays_down_whatever_the_policy() {
    for verb in ["kill", "stop"] {
        let Some(env) = up_with("always") else { return };
        env.run(&format!("{verb} web-1")).ok();
        assert_eq!(env.replica("web-1")["state"], "exited");
        assert!(
            !belljar_e2e::soon(Duration::from_millis(700), || env.replica("web-1")["state"] != "exited"),
            "a fault is undone by nobody but who made it"
        );
        env.run("start web-1").ok();
        assert_eq!(env.replica("web-1")["generation"], 2);
    }
}

#[test]
fn a_crash_loop_backs_off() {
    let env = world!();
    env.stack(
        r#"
        [service.loop]
        run = "{fixture} crash-loop --file {dir}/starts --times 4"
        ready = { log = "start 5" }
        restart = "on-failure"
        "#,
    );
    env.up();
    let starts: Vec<f64> = env
        .events()
        .iter()
        .filter(|event| matches!(event.kind, EventKind::ReplicaStarting { .. }))
        .map(|event| event.t)
        .collect();
    assert_eq!(starts.len(), 5, "{starts:?}");
    let pauses: Vec<f64> = starts.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(pauses[3] > pauses[0] * 2.0, "each wait is longer than the one before: {pauses:?}");
    assert_eq!(env.replica("loop-1")["generation"], 5);
}

#[test]
fn a_replicas_death_is_known_at_once_with_its_last_lines() {
    let env = world!();
    env.stack(
        r#"
        [service.web]
        run = "{fixture} exit 7 --say the-last-words --after 400"
        "#,
    );
    env.up();
    let waited = env.run("wait web-1 --for exited --within 10s").ok();
    assert!(waited.took < Duration::from_secs(5), "{waited}");
    let exited = env.events().into_iter().find_map(|event| match event.kind {
        EventKind::ReplicaExited { exit, expected, last_lines, .. } => {
            Some((exit.code, expected, last_lines))
        }
        _ => None,
    });
    assert_eq!(exited, Some((Some(7), false, vec!["the-last-words".to_owned()])));
}
