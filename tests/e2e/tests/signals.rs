//! Being told to end, in every way a program is told.

use std::time::Duration;

use belljar_e2e::world;
use rustix::process::Signal;

const SLOW: &str = r#"
    [service.slow]
    run = "{fixture} http --port 80 --after 60000"
    ports = { http = 80 }
    ready = { tcp = "http", within = "60s" }
"#;

#[test]
fn sigterm_ends_the_command_and_the_session() {
    let env = world!();
    env.stack("[service.web]\nrun = \"{fixture} http --port 80\"\nports = { http = 80 }\n");
    let running = env.belljar(["run", "--", "sh", "-c", "echo here; exec {fixture} stay"]).spawn();
    running.until_prints("here");
    running.signal(Signal::TERM);
    let output = running.finish();
    assert_eq!(output.code(), 143, "{output}");
    env.nothing_is_left_within(Duration::from_secs(1));
}

#[test]
fn ctrl_c_ends_the_command_and_the_session() {
    let env = world!();
    env.stack("name = \"empty\"\n");
    let running = env.belljar(["run", "--", "sh", "-c", "echo here; exec {fixture} stay"]).spawn();
    running.until_prints("here");
    running.signal(Signal::INT);
    let output = running.finish();
    assert_eq!(output.code(), 130, "{output}");
    env.nothing_is_left_within(Duration::from_secs(1));
}

#[test]
fn a_command_that_handles_ctrl_c_keeps_its_say() {
    let env = world!();
    env.stack("name = \"empty\"\n");
    let script = "trap 'echo told; exit 9' INT TERM; echo here; while :; do sleep 0.05; done";
    for (signal, code) in [(Signal::INT, 9), (Signal::TERM, 143)] {
        let running = env.belljar(["run", "--", "sh", "-c", script]).spawn();
        running.until_prints("here");
        running.signal(signal);
        running.finish().ends_with(code).prints_exactly("here\ntold\n");
    }
}

#[test]
fn the_second_ctrl_c_ends_at_once_whatever_the_command_thinks_of_it() {
    let env = world!();
    env.stack("name = \"empty\"\n");
    let script = "trap 'echo no' INT TERM; echo here; while :; do sleep 0.05; done";
    let running = env.belljar(["run", "--", "sh", "-c", script]).spawn();
    running.until_prints("here");
    running.signal(Signal::INT);
    running.until_prints("no");
    running.signal(Signal::INT);
    let output = running.finish();
    assert_eq!(output.code(), 130, "{output}");
    assert!(output.took < Duration::from_secs(5), "{output}");
    env.nothing_is_left_within(Duration::from_secs(1));
}

#[test]
fn ctrl_c_while_a_session_starts_leaves_nothing() {
    for (words, signal, code) in
        [("up", Signal::INT, 130), ("run -- true", Signal::INT, 130), ("up", Signal::TERM, 143)]
    {
        let env = world!();
        env.stack(SLOW);
        let running = env.belljar(words.split(' ')).spawn();
        belljar_e2e::eventually("the replica runs", belljar_e2e::LONG, || {
            (!env.processes("http --port 80").is_empty()).then_some(())
        });
        running.signal(signal);
        let output = running.finish();
        assert_eq!(output.code(), code, "{output}");
        env.nothing_is_left_within(Duration::from_secs(1));
        let listed = env.run("ls --json").json();
        assert_eq!(listed["sessions"].as_array().map(Vec::len), Some(0), "{listed:#}");
    }
}

#[test]
fn a_session_in_the_background_survives_the_end_of_its_command() {
    let env = world!();
    env.stack("[service.web]\nrun = \"{fixture} http --port 80\"\nports = { http = 80 }\n");
    env.up();
    env.run("exec -- {fixture} get http://web/").ok().prints_exactly("fixture\n");
    env.run("down").ok();
    env.nothing_is_left_within(Duration::from_secs(1));
}

#[test]
fn sigterm_to_the_host_process_ends_its_session_in_order() {
    let env = world!();
    env.stack("[service.tagged]\nrun = \"{fixture} ignore-term\"\n");
    env.up();
    // It is a shell first, until it has learnt to ignore.
    let replica = belljar_e2e::eventually("it runs", belljar_e2e::LONG, || env.processes("stay").pop());
    let host = env.ancestors(&replica).pop().expect("something hosts it");
    rustix::process::kill_process(rustix::process::Pid::from_raw(host.pid).unwrap(), Signal::TERM).unwrap();
    env.nothing_is_left_within(Duration::from_secs(5));
    let listed = env.run("ls --all --json").json();
    assert_eq!(listed["sessions"][0]["state"], "ended", "{listed:#}");
}

#[test]
fn a_command_that_does_not_read_its_input_can_be_interrupted() {
    let env = world!();
    env.stack("[service.web]\nrun = \"{fixture} stay\"");
    env.up();
    // More than fits into the pipes and windows on the way.
    let input = vec![b'y'; 4 << 20];
    let running =
        env.belljar(["exec", "--", "{fixture}", "stay", "--tag", "deaf"]).stdin(input.clone()).spawn();
    belljar_e2e::eventually("it runs", belljar_e2e::LONG, || env.processes("--tag deaf").pop());
    running.signal(Signal::INT);
    assert_eq!(running.finish().code(), 130);
    // Whoever is killed takes his command along.
    let running = env.belljar(["exec", "--", "{fixture}", "stay", "--tag", "deaf2"]).stdin(input).spawn();
    belljar_e2e::eventually("it runs", belljar_e2e::LONG, || env.processes("--tag deaf2").pop());
    running.signal(Signal::KILL);
    assert_eq!(running.finish().code(), 137);
    env.run("wait --for idle --within 20s").ok();
    assert!(env.processes("--tag deaf2").is_empty());
}
