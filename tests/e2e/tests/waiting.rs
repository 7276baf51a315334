//! `wait`, `eventually`, `always`.

use std::time::Duration;

use belljar_e2e::{LONG, eventually, world};
use belljar_model::ErrorCode;

const WEB: &str = r#"
    [service.web]
    run = "{fixture} http --port 80"
    ports = { http = 80 }
    replicas = 2
"#;

#[test]
fn wait_for_ready_returns_when_it_is_so() {
    let env = world!();
    env.stack(WEB);
    env.up();
    env.run("wait web-1 --for ready --within 10s").ok();
    env.run("wait --for ready --within 10s").ok();
    env.run("kill web-1").ok();
    let output = env.run("wait web-1 --for ready --within 300ms --json");
    assert!(output.took >= Duration::from_millis(300), "{output}");
    output.json_error(ErrorCode::WaitTimedOut);
    env.run("wait web-2 --for ready --within 10s").ok();
    let waiting = env.belljar(["wait", "web-1", "--for", "ready", "--within", "20s"]).spawn();
    env.run("start web-1").ok();
    waiting.finish().ok();
}

#[test]
fn wait_for_exited_returns_at_the_death() {
    let env = world!();
    env.stack(WEB);
    env.up();
    env.run("wait web-1 --for exited --within 200ms").ends_with(8);
    let waiting = env.belljar(["wait", "web-1", "--for", "exited", "--within", "20s"]).spawn();
    env.run("kill web-1").ok();
    waiting.finish().ok();
    env.run("wait web-1 --for exited --within 1s").ok();
}

#[test]
fn wait_for_idle_returns_when_nothing_is_under_way() {
    let env = world!();
    env.stack(WEB);
    env.up();
    env.run("wait --for idle --within 10s").ok();
    let mut busy = env.belljar(["exec", "--", "sh", "-c", "echo here; cat"]).stdin_held().spawn();
    busy.until_prints("here");
    env.run("wait --for idle --within 300ms").ends_with(8);
    busy.close_stdin();
    busy.finish().ok();
    env.run("wait --for idle --within 10s").ok();
}

#[test]
fn eventually_repeats_until_it_succeeds() {
    let env = world!();
    env.stack(WEB);
    env.up();
    env.script("third", "#!/bin/sh\necho x >> {dir}/tries\ntest $(wc -l < {dir}/tries) -ge 3\n");
    env.run("eventually --within 10s -- {dir}/third").ok();
    assert_eq!(fs_err::read_to_string(env.dir().join("tries")).unwrap().lines().count(), 3);
}

#[test]
fn eventually_runs_out_with_the_last_words() {
    let env = world!();
    env.stack(WEB);
    env.up();
    let output = env.run("eventually --within 300ms -- {fixture} exit 1 --say still-not-there");
    assert!(output.took < Duration::from_secs(10), "{output}");
    output.ends_with(8).complains(&["still-not-there"]);
    // A command that hangs does not stretch it.
    let output = env.run("eventually --within 300ms -- {fixture} stay --tag hung").ends_with(8);
    assert!(output.took < Duration::from_secs(10), "{output}");
    eventually("the command is gone", LONG, || env.processes("--tag hung").is_empty().then_some(()));
}

#[test]
fn eventually_runs_in_the_session_and_sees_a_replica_come_back() {
    let env = world!();
    env.stack(WEB);
    env.up();
    env.run("kill web-1").ok();
    let waiting =
        env.belljar(["eventually", "--within", "20s", "--", "{fixture}", "get", "http://web-1/"]).spawn();
    env.run("start web-1").ok();
    waiting.finish().ok();
}

#[test]
fn a_command_that_is_not_there_is_not_waited_for() {
    let env = world!();
    env.stack(WEB);
    env.up();
    let output = env.run("eventually --within 60s -- no-such-command-anywhere");
    assert!(output.took < Duration::from_secs(20), "it can never succeed: {output}");
    output.ends_with(2).complains(&["command-not-found"]);
}

#[test]
fn always_holds_for_the_whole_time() {
    let env = world!();
    env.stack(WEB);
    env.up();
    let output = env.run("always --for 500ms -- {fixture} get http://web-1/").ok();
    assert!(output.took >= Duration::from_millis(500), "{output}");
}

#[test]
fn always_ends_at_the_first_failure() {
    let env = world!();
    env.stack(WEB);
    env.up();
    let watching =
        env.belljar(["always", "--for", "60s", "--json", "--", "{fixture}", "get", "http://web-1/"]).spawn();
    env.run("kill web-1").ok();
    let output = watching.finish();
    assert!(output.took < Duration::from_secs(20), "{output}");
    assert_eq!(output.code(), 8, "{output}");
    assert!(output.stderr.contains("always-violated"), "{output}");
}

#[test]
fn durations_are_checked() {
    let env = world!();
    env.stack(WEB);
    env.up();
    env.run("wait --for ready --within soon").ends_with(2).complains(&["soon"]);
    env.run("eventually --within 10 -- true").ends_with(2).complains(&["`10`"]);
    env.run("wait --for nonsense --within 1s").ends_with(2);
}

#[test]
fn a_check_that_hangs_does_not_outlast_its_time() {
    let env = world!();
    env.stack(WEB);
    env.up();
    let output = env.run("always --for 300ms --json -- {fixture} stay");
    assert!(output.took < Duration::from_secs(20), "{output}");
    output.json_error(belljar_model::ErrorCode::AlwaysViolated);
    // It held once, and was looking again when its time was over.
    env.run("always --for 700ms -- {fixture} exit 0 --after 400").ok();
}
