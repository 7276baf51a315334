//! `up --attach`: a live table on a terminal, lines elsewhere, and how it ends.

use std::time::Duration;

use belljar_e2e::{TestEnv, world};
use belljar_model::EventKind;
use rustix::process::Signal;

const STACK: &str = r#"
    [service.db]
    run = "{fixture} tcp --port 5432"
    ports = { sql = 5432 }

    [service.api]
    run = "{fixture} http --port 8080"
    ports = { http = 8080 }
    replicas = 2
    after = ["db"]
"#;

const DEAF: &str = "[service.deaf]\nrun = \"{fixture} ignore-term\"\nstop = { within = \"60s\" }\n";

/// The last table that was drawn, without what only a terminal needs.
fn table(text: &str) -> String {
    let start = text.rfind("project (").expect("a table was drawn");
    text[start..].replace("\x1b[K", "").replace("\x1b[J", "").replace('\r', "")
}

fn exits(env: &TestEnv, signal: &str) -> usize {
    let is_it = |kind: &EventKind| matches!(kind, EventKind::ReplicaExited { exit, .. } if exit.signal.as_deref() == Some(signal));
    env.events().iter().filter(|event| is_it(&event.kind)).count()
}

#[test]
fn a_table_shows_every_replica_and_ctrl_c_ends_the_session_in_order() {
    let env = world!();
    env.stack(STACK);
    let mut terminal =
        env.on_terminal(env.belljar(["up", "--attach", "--ttl", "1h"]).env("TERM", "xterm"), 24, 80);
    terminal.until_shows("q leaves it running");
    env.run("kill api-2").ok();
    terminal.until_shows("degraded: api-2 is exited");
    env.run("start api-2").ok();
    env.run("scale api=3").ok();
    terminal.until_shows("10.77.2.3:8080");
    let shown = belljar_e2e::eventually("api-2 has one restart in the table", belljar_e2e::LONG, || {
        let table = table(&terminal.text());
        let line = table.lines().find(|line| line.starts_with("api-2"))?.to_owned();
        let cells: Vec<_> = line.split_whitespace().collect();
        let is_whole = table.contains("q leaves") && !table.contains("starting");
        (cells[1] == "ready" && cells[3] == "1" && is_whole).then_some(table)
    });
    assert!(shown.starts_with("project (") && shown.contains("ends by itself in 59m"), "{shown}");
    assert!(shown.contains("NAME   STATE  SINCE  RESTARTS  ADDRESS"), "{shown}");
    assert!(shown.contains("listening on 0.0.0.0:8080"), "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    // NO_COLOR is set in these tests.
    assert!(!terminal.text().contains("\x1b[3"), "{:?}", terminal.text());
    terminal.types("\x03");
    let (status, text) = terminal.finish();
    assert_eq!(status.code(), Some(130), "{text}");
    assert!(
        text.contains("ending in order") && text.contains("has ended: `belljar up` was interrupted"),
        "{text}"
    );
    env.nothing_is_left_within(Duration::from_secs(1));
    assert_eq!(exits(&env, "SIGTERM"), 4);
    let events = env.events();
    let stopping = |name: &str| {
        let is_it = |kind: &EventKind| matches!(kind, EventKind::ReplicaStopping { replica, .. } if replica.as_str() == name);
        events.iter().rposition(|event| is_it(&event.kind)).unwrap()
    };
    assert!(stopping("db-1") > stopping("api-1"), "dependants first");
}

#[test]
fn a_second_ctrl_c_ends_it_at_once() {
    let env = world!();
    env.stack(&format!("{STACK}{DEAF}"));
    let mut terminal = env.on_terminal(env.belljar(["up", "--attach"]).env("TERM", "xterm"), 24, 80);
    terminal.until_shows("q leaves it running");
    terminal.types("\x03");
    terminal.until_shows("draining");
    terminal.types("\x03");
    let (status, text) = terminal.finish();
    assert_eq!(status.code(), Some(130), "{text}");
    assert!(text.contains("ending at once"), "{text}");
    env.nothing_is_left_within(Duration::from_secs(1));
}

#[test]
fn q_and_ctrl_d_leave_it_running() {
    let env = world!();
    env.stack(STACK);
    for key in ["q", "\x04"] {
        let mut terminal = env.on_terminal(env.belljar(["up", "--attach"]).env("TERM", "xterm"), 24, 80);
        terminal.until_shows("q leaves it running");
        terminal.types(key);
        let (status, text) = terminal.finish();
        assert!(status.success() && text.contains("is left running"), "{text}");
        assert_eq!(env.ps()["state"], "ready");
    }
    let terminal = env.on_terminal(env.belljar(["up", "--attach"]).env("TERM", "xterm"), 24, 80);
    terminal.until_shows("q leaves it running");
    env.run("down").ok();
    let (status, text) = terminal.finish();
    assert!(status.success() && text.contains("has ended: belljar down"), "{text}");
}

#[test]
fn without_a_terminal_there_is_a_line_for_everything() {
    let env = world!();
    env.stack(STACK);
    let attached = env.belljar(["up", "--attach"]).stdin_held().spawn();
    attached.until_prints("api-1      | listening on 0.0.0.0:8080");
    env.run("kill api-1").ok();
    attached.until_prints("fault.applied");
    assert!(!attached.stdout().contains('\x1b'), "{}", attached.stdout());
    attached.signal(Signal::TERM);
    attached.finish().ends_with(143).complains(&["ending in order", "has ended"]);
    env.nothing_is_left_within(Duration::from_secs(1));
}

#[test]
fn as_json_it_is_a_line_per_event() {
    let env = world!();
    env.stack(STACK);
    let attached = env.belljar(["up", "--attach", "--json"]).spawn();
    attached.until_prints("\"services\"");
    env.run("kill api-1").ok();
    attached.until_prints("{\"v\":1,\"seq\":");
    env.run("down").ok();
    let output = attached.finish().ok();
    assert_eq!(output.stderr, "");
    assert!(output.stdout.contains("\"kind\":\"session.ended\""), "{output}");
}

#[test]
fn its_sudden_death_takes_the_session_along() {
    let env = world!();
    env.stack(STACK);
    let attached = env.belljar(["up", "--attach"]).spawn();
    attached.until_prints("listening on 0.0.0.0:8080");
    env.until_replica("api-2", "ready");
    attached.signal(Signal::KILL);
    let _ = attached.finish().output();
    env.nothing_is_left_within(Duration::from_secs(2));
    belljar_e2e::eventually("it has ended", belljar_e2e::LONG, || {
        let all = env.run("ls --all --json").json();
        (all["sessions"][0]["state"] == "ended").then_some(())
    });
    let why = "whom it was attached to has gone";
    assert!(
        env.events()
            .iter()
            .any(|one| matches!(&one.kind, EventKind::SessionEnded { why: told } if told == why))
    );
}

#[test]
fn a_session_whose_host_is_killed_is_told_to_be_dead() {
    let env = world!();
    env.stack(STACK);
    let attached = env.belljar(["up", "--attach"]).spawn();
    attached.until_prints("listening on 0.0.0.0:8080");
    env.until_replica("api-2", "ready");
    let replica = env.processes("tcp --port 5432").remove(0);
    let above = env.ancestors(&replica);
    let host =
        above.iter().find(|one| one.command.contains("__host") && !one.command.contains("zygote")).unwrap();
    // The outermost of those that carry it is its host process.
    above.iter().rfind(|one| one.command.contains("__host")).unwrap_or(host).kill();
    attached.finish().ends_with(6).complains(&["is dead: its host process was killed"]);
}
