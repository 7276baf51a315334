//! SIGKILL of any belljar process, at any moment: within a second nothing of its session is there, and the
//! store tells the truth about it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use belljar_e2e::{Process, TestEnv, processes, world};
use belljar_model::ErrorCode;

const STACK: &str = r#"
    [service.web]
    run = "{fixture} http --port 80 --name ${self.name}"
    ports = { http = 80 }
    replicas = 2

    [service.daemon]
    run = "{fixture} daemonize --port 80 --daemon-port 81 --tag daemon"
    ports = { http = 80, daemon = 81 }

    [service.deaf]
    run = "{fixture} ignore-term"
"#;

const WITHIN: Duration = Duration::from_secs(1);

/// The chain above a replica: the session's init first, the host process last.
#[track_caller]
fn chain(env: &TestEnv) -> Vec<Process> {
    let replica = env.processes("http --port 80").pop().expect("a replica runs");
    let chain = env.ancestors(&replica);
    assert!(chain.len() >= 2, "an init and a host process: {chain:#?}");
    chain
}

/// Kills it and counts what is left: processes, mounts, sockets, and the network namespaces of the machine.
#[track_caller]
fn nothing_survives(env: &TestEnv, victim: &Process) {
    let before = env.footprint();
    assert!(before.processes.len() >= 6, "{before}");
    let networks: BTreeSet<_> = before.processes.iter().filter_map(network).collect();
    let ours: BTreeSet<_> =
        networks.iter().filter(|one| Some(*one) != own_network().as_ref()).cloned().collect();
    let killed = Instant::now();
    victim.kill();
    env.nothing_is_left_within(WITHIN);
    let took = killed.elapsed();
    assert!(took < WITHIN + Duration::from_millis(200), "{took:?}");
    // Nobody on the whole machine is in one of its networks any more, whatever the process calls itself.
    let inside = processes().iter().filter_map(network).filter(|one| ours.contains(one)).count();
    assert_eq!(inside, 0);
}

/// The network namespace of a process, where we may know it.
fn network(process: &Process) -> Option<PathBuf> {
    fs_err::read_link(format!("/proc/{}/ns/net", process.pid)).ok()
}

fn own_network() -> Option<PathBuf> {
    fs_err::read_link("/proc/self/ns/net").ok()
}

#[track_caller]
fn is_told_dead(env: &TestEnv) {
    let live = env.run("ls --json").json();
    assert!(
        live["sessions"].as_array().unwrap().iter().all(|one| one["state"] != "ready"),
        "nothing lives: {live:#}"
    );
    let all = env.run("ls --all --json").json();
    assert_eq!(all["sessions"][0]["state"], "dead", "{all:#}");
    env.run("ls --all").ok().prints(&["dead"]);
    let id = all["sessions"][0]["id"].as_str().unwrap();
    env.run(&format!("exec -s {id} -- true")).ends_with(125);
    env.run(&format!("kill -s {id} web-1 --json")).json_error(ErrorCode::SessionDead);
}

#[test]
fn killing_the_host_process_leaves_nothing() {
    let env = world!();
    env.stack(STACK);
    env.up();
    let host = chain(&env).pop().unwrap();
    nothing_survives(&env, &host);
    is_told_dead(&env);
}

#[test]
fn killing_the_sessions_init_leaves_nothing() {
    let env = world!();
    env.stack(STACK);
    env.up();
    let chain = chain(&env);
    let init = chain.iter().find(|one| one.is_init()).expect("pid 1 of the session");
    let id = env.ps()["id"].as_str().unwrap().to_owned();
    nothing_survives(&env, init);
    // The host process lives to see it and says so.
    let all = env.run("ls --all --json").json();
    let one = &all["sessions"][0];
    assert_eq!(one["id"], id.as_str());
    assert!(one["state"] == "dead" || one["state"] == "ended", "{all:#}");
}

#[test]
fn killing_anything_between_leaves_nothing() {
    let env = world!();
    env.stack(STACK);
    env.up();
    let chain = chain(&env);
    let Some(between) = chain[..chain.len() - 1].iter().rev().find(|one| !one.is_init()) else {
        // The init is the host process's own child: there is nothing between them to kill.
        return;
    };
    nothing_survives(&env, between);
}

#[test]
fn killing_belljar_run_leaves_nothing() {
    let env = world!();
    env.stack(STACK);
    let running = env.belljar(["run", "--", "sh", "-c", "echo here; exec {fixture} ignore-term"]).spawn();
    running.until_prints("here");
    assert!(env.footprint().processes.len() >= 6);
    running.signal(rustix::process::Signal::KILL);
    env.nothing_is_left_within(WITHIN);
    assert_eq!(running.finish().code(), 137);
}

#[test]
fn killing_belljar_while_a_session_starts_leaves_nothing() {
    let env = world!();
    env.stack(
        "[service.slow]\nrun = \"{fixture} stay --tag slow\"\nready = { file = \"/tmp/never\", within = \"60s\" }\n",
    );
    let running = env.belljar(["run", "--", "true"]).spawn();
    belljar_e2e::eventually("it starts", belljar_e2e::LONG, || {
        (!env.processes("--tag slow").is_empty()).then_some(())
    });
    running.signal(rustix::process::Signal::KILL);
    env.nothing_is_left_within(WITHIN);
    assert_eq!(running.finish().code(), 137);
}

#[test]
fn killing_at_any_moment_of_the_start_leaves_nothing() {
    let env = world!();
    env.stack(STACK);
    for ms in [1, 3, 6, 10, 15, 25, 40, 60] {
        let running = env.belljar(["run", "--", "true"]).spawn();
        // The moment itself is what is tried here; whether the command has ended by then does not matter.
        std::thread::park_timeout(Duration::from_millis(ms));
        running.signal(rustix::process::Signal::KILL);
        env.nothing_is_left_within(WITHIN);
        drop(running);
    }
    // The store has survived all of it.
    env.run("ls --all --json").json();
    env.up();
}

#[test]
fn killing_belljar_test_leaves_nothing() {
    let env = world!();
    env.stack(&format!("{STACK}\n[suite.s]\nscenarios = \"scenarios/*\"\n"));
    for name in ["a", "b", "c"] {
        env.script(
            &format!("scenarios/{name}"),
            "#!/bin/sh\necho x > {dir}/started-$BELLJAR_SESSION\nexec {fixture} ignore-term\n",
        );
    }
    let running = env.belljar(["test", "-j", "2"]).spawn();
    belljar_e2e::eventually("two scenarios run", belljar_e2e::LONG, || {
        (env.processes("stay").len() >= 4).then_some(())
    });
    running.signal(rustix::process::Signal::KILL);
    env.nothing_is_left_within(WITHIN);
    assert_eq!(running.finish().code(), 137);
}

#[test]
fn a_dead_sessions_name_is_free_again() {
    let env = world!();
    env.stack(STACK);
    env.run("up --name mine").ok();
    let host = chain(&env).pop().unwrap();
    host.kill();
    env.nothing_is_left_within(WITHIN);
    env.run("up --name mine").ok();
    env.run("exec -- {fixture} get http://web-1/").ok();
}

#[test]
fn the_death_of_one_session_is_nothing_to_another() {
    let env = world!();
    env.stack(STACK);
    env.run("up --name one").ok();
    let first = chain(&env).pop().unwrap();
    env.run("up --name two").ok();
    first.kill();
    assert!(belljar_e2e::soon(WITHIN, || !env.footprint().processes.iter().any(|one| one.pid == first.pid)));
    env.run("exec -s two -- {fixture} get http://web-2/").ok().prints_exactly("web-2\n");
    let listed = env.run("ls --json").json();
    let live: Vec<_> =
        listed["sessions"].as_array().unwrap().iter().filter(|one| one["state"] == "ready").collect();
    assert_eq!(live.len(), 1, "{listed:#}");
    assert_eq!(live[0]["name"], "two");
    env.run("down two").ok();
}

#[test]
fn a_killed_host_is_noticed_by_whoever_waits() {
    let env = world!();
    env.stack(STACK);
    env.up();
    let host = chain(&env).pop().unwrap();
    let waiting = env.belljar(["wait", "web-1", "--for", "exited", "--within", "60s"]).spawn();
    let following = env.belljar(["logs", "-f"]).spawn();
    following.until_prints("listening");
    host.kill();
    let waited = waiting.finish();
    assert!(waited.code() != 0 && waited.took < Duration::from_secs(20), "{waited}");
    let followed = following.finish();
    assert!(followed.took < Duration::from_secs(20), "{followed}");
}
