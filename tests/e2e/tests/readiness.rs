//! Every way in which a replica can be ready, and never.

use std::time::Duration;

use belljar_e2e::{TestEnv, world};
use belljar_model::{ErrorCode, EventKind};

/// Brings up one service and answers how long it took to be ready, as its events tell it.
#[track_caller]
fn ready_ms(env: &TestEnv, service: &str) -> f64 {
    env.stack(&format!("[service.one]\n{service}\n"));
    env.up();
    let events = env.events();
    let ready = events.iter().find_map(|event| match &event.kind {
        EventKind::ReplicaReady { ready_ms, .. } => Some(*ready_ms),
        _ => None,
    });
    ready.expect("it became ready")
}

#[track_caller]
fn comes_with(service: &str, at_least_ms: f64) {
    if belljar_e2e::lacks_sealing() {
        return;
    }
    let env = TestEnv::new();
    let ms = ready_ms(&env, service);
    assert!(ms >= at_least_ms, "ready after {ms} ms, before it could be");
}

#[test]
fn tcp_is_ready_when_its_port_takes_connections() {
    comes_with(
        "run = \"{fixture} tcp --port 7000 --after 200\"\nports = { main = 7000 }\nready = { tcp = \"main\" }",
        200.0,
    );
}

#[test]
fn a_service_with_ports_and_no_check_of_its_own_waits_for_them() {
    comes_with("run = \"{fixture} tcp --port 7000 --after 200\"\nports = { main = 7000 }", 200.0);
}

#[test]
fn http_is_ready_when_the_answer_is_a_success() {
    comes_with(
        "run = \"{fixture} http --port 80 --delay-ready 200\"\nports = { http = 80 }\nready = { http = \"/health\", port = \"http\" }",
        200.0,
    );
}

#[test]
fn http_can_ask_for_a_status_and_a_body() {
    comes_with(
        "run = \"{fixture} http --port 80 --delay-ready 60000\"\nports = { http = 80 }\nready = { http = \"/health\", port = \"http\", status = 503, body = \"not yet\" }",
        0.0,
    );
}

#[test]
fn exec_is_ready_when_the_command_succeeds_in_the_replicas_place() {
    comes_with(
        "run = \"{fixture} tcp --port 7000 --after 200\"\nports = { main = 7000 }\nready = { exec = [\"{fixture}\", \"connect\", \"127.0.0.1\", \"7000\"] }",
        200.0,
    );
}

#[test]
fn log_is_ready_when_a_whole_line_matches() {
    comes_with(
        "run = \"{fixture} log-lines --count 30 --every 20\"\nready = { log = \"line 1[0-9]\" }",
        150.0,
    );
}

#[test]
fn notify_is_ready_when_the_service_says_so() {
    comes_with("run = \"{fixture} notify --after 200\"\nready = { notify = true }", 200.0);
}

#[test]
fn file_is_ready_when_the_file_is_there_for_the_replica() {
    comes_with(
        "run = \"{fixture} touch-file /tmp/flag --after 200\"\nready = { file = \"/tmp/flag\" }",
        200.0,
    );
}

#[test]
fn socket_is_ready_when_it_takes_connections() {
    comes_with("run = \"{fixture} unix-socket /tmp/s --after 200\"\nready = { socket = \"/tmp/s\" }", 200.0);
}

#[test]
fn a_socket_that_merely_exists_is_not_ready() {
    let env = world!();
    env.stack("[service.one]\nrun = \"{fixture} unix-socket /tmp/s --only-bind 1\"\nready = { socket = \"/tmp/s\", within = \"500ms\" }\n");
    env.run("up --json").json_error(ErrorCode::SessionNotReady);
}

#[test]
fn stable_asks_the_check_to_hold() {
    comes_with(
        "run = \"{fixture} tcp --port 7000\"\nports = { main = 7000 }\nready = { tcp = \"main\", stable = \"300ms\" }",
        300.0,
    );
}

#[test]
fn a_service_that_dies_before_it_was_stable_is_not_ready() {
    let env = world!();
    env.stack(
        "[service.one]\nrun = \"{fixture} exit 3 --after 200 --say dying\"\nready = { log = \"dying\", stable = \"5s\" }\n",
    );
    env.run("up").ends_with(5).complains(&["one-1", "dying", "exit code 3"]);
}

#[test]
fn readiness_is_noticed_at_once() {
    let env = world!();
    let ms = ready_ms(&env, "run = \"{fixture} tcp --port 7000\"\nports = { main = 7000 }");
    // About a millisecond after the fixture listens, which is at once; a probe every 100 ms would show here.
    assert!(ms < 60.0, "{ms} ms");
}

#[test]
fn a_check_that_never_holds_ends_with_the_last_lines_and_nothing_left() {
    let checks = [
        "ports = { http = 80 }\nready = { tcp = \"http\", within = \"400ms\" }",
        "ports = { http = 80 }\nready = { http = \"/\", port = \"http\", within = \"400ms\" }",
        "ready = { exec = [\"false\"], within = \"400ms\" }",
        "ready = { log = \"never said\", within = \"400ms\" }",
        "ready = { notify = true, within = \"400ms\" }",
        "ready = { file = \"/tmp/never\", within = \"400ms\" }",
        "ready = { socket = \"/tmp/never\", within = \"400ms\" }",
    ];
    for check in checks {
        let env = world!();
        env.stack(&format!("[service.one]\nrun = \"{{fixture}} log-lines --count 3\"\n{check}\n"));
        let output = env.run("up").ends_with(5).complains(&["one-1", "line 3"]);
        assert!(output.took < Duration::from_secs(10), "{output}");
        env.nothing_is_left_within(Duration::from_secs(1));
        let all = env.run("ls --all --json").json();
        assert_eq!(all["sessions"][0]["state"], "ended", "{all:#}");
    }
}

#[test]
fn a_server_that_exits_at_once_is_told_at_once() {
    let env = world!();
    env.stack(
        "[service.one]\nrun = \"{fixture} exit 4 --say no-config-found\"\nports = { http = 80 }\nready = { tcp = \"http\", within = \"60s\" }\n",
    );
    let output = env.run("up").ends_with(5).complains(&["one-1", "exit code 4", "no-config-found"]);
    assert!(output.took < Duration::from_secs(5), "it did not wait for the check's time: {output}");
    env.nothing_is_left_within(Duration::from_secs(1));
}
