//! Shared isolation has no kernel that ends everything: wardens and guards do, whoever is killed.

use std::time::Duration;

use belljar_e2e::{LONG, Process, TestEnv, eventually, processes};

const STACK: &str = r#"
    [service.web]
    run = "{fixture} http --port ${self.port.http} --name ${self.name} --tag web"
    ports = { http = 80 }
    replicas = 2

    [service.daemon]
    run = "{fixture} daemonize --port ${self.port.http} --daemon-port ${self.port.daemon} --tag orphan"
    ports = { http = 80, daemon = 81 }

    [service.deaf]
    run = "{fixture} ignore-term --tag deaf"
"#;

const WITHIN: Duration = Duration::from_secs(1);

fn started() -> TestEnv {
    let env = TestEnv::new();
    env.stack(STACK);
    env.run("up --isolation shared").ok();
    env
}

/// The processes of ours above a replica: its guard, the warden, the host process.
#[track_caller]
fn chain(env: &TestEnv, text: &str) -> [Process; 3] {
    let replica = env.processes(text).pop().expect("a replica runs");
    let chain = env.ancestors(&replica);
    <[Process; 3]>::try_from(chain).expect("a guard, a warden and a host process")
}

#[track_caller]
fn nothing_survives(env: &TestEnv, victims: &[&Process]) {
    assert!(env.footprint().processes.len() >= 10, "{}", env.footprint());
    for victim in victims {
        victim.kill();
    }
    env.nothing_is_left_within(WITHIN);
}

#[test]
fn an_orphan_belongs_to_the_replica_that_left_it() {
    let env = started();
    let orphan = env.process("--name daemon");
    let [guard, ..] = chain(&env, "daemonize");
    assert_eq!(orphan.parent, guard.pid, "it has come to the guard");
    // It stands still with its replica, and ends with it.
    env.run("pause daemon").ok();
    assert!(env.process("--name daemon").thread_states().iter().all(|state| *state == 'T'));
    env.run("resume daemon").ok();
    env.run("kill daemon").ok();
    assert!(env.processes("--name daemon").is_empty(), "{}", env.footprint());
    env.run("start daemon").ok();
    env.process("--name daemon");
    // Also where the replica ends by itself.
    let port = env.replica("daemon-1")["ports"]["http"].clone();
    env.run(&format!("exec -- {{fixture}} get http://127.0.0.1:{port}/exit/3")).ok();
    env.run("wait daemon --for exited --within 5s").ok();
    assert!(env.processes("--name daemon").is_empty(), "{}", env.footprint());
    assert_eq!(env.processes("--tag web").len(), 2, "nobody else was touched");
}

#[test]
fn what_a_command_leaves_behind_ends_with_the_session() {
    let env = TestEnv::new();
    env.stack("");
    env.script(
        "leave",
        "#!/bin/sh\nsetsid sh -c '{fixture} stay --tag left & {fixture} stay --tag right &' &\nwait\n",
    );
    env.run("run --isolation shared -- ./leave").ok();
    env.nothing_is_left_within(WITHIN);
    env.run("up --isolation shared").ok();
    env.run("exec -- ./leave").ok();
    env.process("--tag left");
    env.run("down").ok();
    env.nothing_is_left_within(WITHIN);
}

#[test]
fn killing_the_host_process_leaves_nothing() {
    let env = started();
    let [.., host] = chain(&env, "--tag web");
    nothing_survives(&env, &[&host]);
    let all = env.run("ls --all --json").json();
    assert_eq!(all["sessions"][0]["state"], "dead", "{all:#}");
}

#[test]
fn killing_the_warden_leaves_nothing_and_is_told() {
    let env = started();
    let [_, warden, _] = chain(&env, "--tag web");
    nothing_survives(&env, &[&warden]);
    let all = env.run("ls --all --json").json();
    assert_eq!(all["sessions"][0]["state"], "ended", "{all:#}");
    let stopped = "\"why\":\"the session's warden was killed\"";
    let [events] = &env.files_named("events.jsonl")[..] else { panic!("one session") };
    assert!(fs_err::read_to_string(events).unwrap().contains(stopped));
}

#[test]
fn killing_the_host_process_and_the_warden_at_once_leaves_nothing() {
    let env = started();
    let [_, warden, host] = chain(&env, "--tag web");
    nothing_survives(&env, &[&host, &warden]);
}

#[test]
fn killing_a_guard_kills_its_replica_and_what_that_has_left() {
    let env = started();
    let [guard, ..] = chain(&env, "daemonize");
    guard.kill();
    env.until_replica("daemon-1", "failed");
    eventually("the orphan has ended", LONG, || env.processes("--name daemon").is_empty().then_some(()));
    assert_eq!(env.replica("daemon-1")["exit"]["signal"], "SIGKILL");
    // The others live on, and it can be started again.
    assert_eq!(env.processes("--tag web").len(), 2);
    env.run("start daemon").ok();
    env.process("--name daemon");
}

#[test]
fn killing_the_host_process_while_a_session_starts_leaves_nothing() {
    // Killed when this of it is there: the warden, the first replica, its orphan, a replica that is not ready.
    for moment in ["__warden", "--tag web", "--name daemon", "--tag late"] {
        let env = TestEnv::new();
        env.stack(&format!(
            "{STACK}\n[service.late]\nrun = \"{{fixture}} stay --tag late\"\nready = {{ log = \"never\" }}\n"
        ));
        let up = env.belljar(["up", "--isolation", "shared"]).spawn();
        let root = env.root().display().to_string();
        let is_there = || {
            processes().into_iter().find(|one| {
                one.command.contains(moment)
                    && (one.command.contains(&root) || moment == "__warden" && is_ours(&env, one))
            })
        };
        eventually(moment, LONG, is_there);
        let host = eventually("the host process", LONG, || {
            processes().into_iter().find(|one| one.command.contains("__host") && one.command.contains(&root))
        });
        host.kill();
        env.nothing_is_left_within(LONG);
        assert_ne!(up.finish().code(), 0);
    }
}

fn is_ours(env: &TestEnv, process: &Process) -> bool {
    env.footprint().processes.iter().any(|one| one.pid == process.pid)
}

#[test]
fn down_leaves_no_process_and_says_how_replicas_ended() {
    let env = started();
    env.run("down").ok();
    env.nothing_is_left_within(WITHIN);
    let all = env.run("ls --all --json").json();
    assert_eq!(all["sessions"][0]["state"], "ended", "{all:#}");
}
