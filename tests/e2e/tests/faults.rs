//! kill, term, stop, start, restart, pause, resume: true when the command returns.

use std::time::Duration;

use belljar_e2e::{LONG, TestEnv, eventually, world};
use belljar_model::{ErrorCode, EventKind};
use serde_json::Value;

const WEB: &str = r#"
    [service.web]
    run = "{fixture} http --port 80 --name ${self.name} --tag ${self.name}"
    ports = { http = 80 }
    replicas = 3
"#;

fn exits(env: &TestEnv, name: &str) -> usize {
    let is = |event: &&belljar_model::Event| matches!(&event.kind, EventKind::ReplicaExited { replica, .. } if replica.as_str() == name);
    env.events().iter().filter(is).count()
}

#[test]
fn kill_is_true_on_return_and_touches_nothing_else() {
    let env = world!();
    env.stack(WEB);
    env.up();
    let answer = env.run("kill web-2 --json").json();
    assert_eq!(answer["replicas"][0]["name"], "web-2", "{answer:#}");
    assert_eq!(answer["replicas"][0]["changed"], true, "{answer:#}");
    assert!(env.processes("--tag web-2").is_empty());
    let killed = env.replica("web-2");
    assert_eq!(killed["state"], "exited", "{killed:#}");
    assert_eq!(killed["exit"]["signal"], "SIGKILL", "{killed:#}");
    env.run("exec -- {fixture} connect web-2 80").ends_with(1);
    for name in ["web-1", "web-3"] {
        assert_eq!(env.replica(name)["state"], "ready");
        env.run(&format!("exec -- {{fixture}} get http://{name}/")).ok();
    }
}

#[test]
fn kill_takes_daemons_along() {
    let env = world!();
    env.stack(
        r#"
        [service.web]
        run = "{fixture} daemonize --port 80 --daemon-port 81 --tag daemon-test"
        ports = { http = 80, daemon = 81 }
        "#,
    );
    env.up();
    assert_eq!(env.processes("--tag daemon-test").len(), 2, "it and its daemon");
    env.run("kill web-1").ok();
    assert!(env.processes("--tag daemon-test").is_empty());
    // Its port is free again: the next generation binds it.
    env.run("start web-1").ok();
    assert_eq!(env.processes("--tag daemon-test").len(), 2);
    env.run("stop web-1").ok();
    assert!(env.processes("--tag daemon-test").is_empty(), "stop does as much");
}

#[test]
fn stop_asks_first_and_kills_when_its_time_is_over() {
    let env = world!();
    env.script("polite", "#!/bin/sh\ntrap 'echo told; exit 5' USR1\necho up\nwhile :; do sleep 0.02; done\n");
    env.stack(
        r#"
        [service.polite]
        run = "{dir}/polite"
        ready = { log = "up" }
        stop = { signal = "USR1", within = "20s" }

        [service.deaf]
        run = "{fixture} ignore-term"
        stop = { signal = "TERM", within = "400ms" }
        "#,
    );
    env.up();
    let output = env.run("stop polite-1").ok();
    assert!(output.took < Duration::from_secs(10), "{output}");
    let polite = env.replica("polite-1");
    assert_eq!((&polite["state"], &polite["exit"]["code"]), (&"exited".into(), &5.into()), "{polite:#}");
    env.run("logs polite-1").ok().prints(&["told"]);
    let output = env.run("stop deaf-1").ok();
    assert!(output.took >= Duration::from_millis(400), "{output}");
    let deaf = env.replica("deaf-1");
    assert_eq!(deaf["state"], "exited");
    assert_eq!(deaf["exit"]["signal"], "SIGKILL", "{deaf:#}");
}

#[test]
fn term_tells_the_main_process_and_waits_for_nothing() {
    let env = world!();
    env.stack(&format!("{WEB}\n[service.deaf]\nrun = \"{{fixture}} ignore-term\"\n"));
    env.up();
    env.run("term deaf-1").ok();
    assert_eq!(env.replica("deaf-1")["state"], "ready", "it does not listen");
    env.run("term web-1").ok();
    env.run("wait web-1 --for exited --within 10s").ok();
    assert_eq!(env.replica("web-1")["exit"]["signal"], "SIGTERM");
}

#[test]
fn start_and_restart_are_over_when_the_replica_is_ready_again() {
    let env = world!();
    env.stack(
        r#"
        [service.web]
        run = "{fixture} http --port 80 --delay-ready 200"
        ports = { http = 80 }
        ready = { http = "/health", port = "http" }
        "#,
    );
    env.up();
    let first = env.replica("web-1")["pid"].clone();
    env.run("restart web-1").ok();
    let second = env.replica("web-1");
    assert_eq!((&second["state"], &second["generation"]), (&"ready".into(), &2.into()), "{second:#}");
    assert_ne!(second["pid"], first);
    env.run("exec -- {fixture} get http://web/health").ok();
    env.run("kill web-1").ok();
    env.run("start web-1").ok();
    env.run("exec -- {fixture} get http://web/health").ok();
    assert_eq!(env.replica("web-1")["generation"], 3);
    assert_eq!(exits(&env, "web-1"), 2);
}

#[test]
fn pause_holds_every_thread_and_resume_lets_them_go() {
    let env = world!();
    env.stack(WEB);
    env.up();
    // A request under way gives it a second thread.
    let slow = env.belljar(["exec", "--", "{fixture}", "get", "http://web-1/sleep/300"]).spawn();
    eventually("a request is under way", LONG, || {
        (env.process("--tag web-1").thread_states().len() > 1).then_some(())
    });
    env.run("pause web-1").ok();
    let states = env.process("--tag web-1").thread_states();
    assert!(states.len() > 1 && states.iter().all(|&state| state == 'T'), "{states:?}");
    assert_eq!(env.replica("web-1")["state"], "paused");
    // The kernel still takes the connection; nobody answers.
    env.run("exec -- {fixture} get http://web-1/ --timeout 300").ends_with(28);
    env.run("exec -- {fixture} get http://web-2/").ok();
    env.run("resume web-1").ok();
    assert!(!env.process("--tag web-1").thread_states().contains(&'T'));
    assert_eq!(env.replica("web-1")["state"], "ready");
    env.run("exec -- {fixture} get http://web-1/").ok().prints_exactly("web-1\n");
    slow.finish().ok().prints_exactly("rested\n");
}

#[test]
fn pause_holds_daemons_too_and_a_paused_replica_can_be_killed_and_stopped() {
    for verb in ["kill", "stop", "restart"] {
        let env = world!();
        env.stack(
            r#"
            [service.web]
            run = "{fixture} daemonize --port 80 --daemon-port 81 --tag held"
            ports = { http = 80, daemon = 81 }
            stop = { within = "2s" }
            "#,
        );
        env.up();
        env.run("pause web-1").ok();
        let held = env.processes("--tag held");
        assert_eq!(held.len(), 2);
        assert!(held.iter().all(|one| one.thread_states().iter().all(|&state| state == 'T')));
        env.run(&format!("{verb} web-1")).ok();
        let left = env.processes("--tag held").len();
        assert_eq!(left, if verb == "restart" { 2 } else { 0 }, "after {verb}");
    }
}

#[test]
fn every_verb_is_idempotent_and_says_whether_it_did_anything() {
    let env = world!();
    env.stack(WEB);
    env.up();
    let changed = |words: &str| -> Vec<bool> {
        let answer = env.run(&format!("{words} --json")).json();
        let replicas = answer["replicas"].as_array().cloned().unwrap_or_default();
        replicas.iter().filter_map(|one| one["changed"].as_bool()).collect()
    };
    assert_eq!(changed("start web-1"), [false]);
    assert_eq!(changed("resume web-1"), [false]);
    assert_eq!(changed("pause web-1"), [true]);
    assert_eq!(changed("pause web-1"), [false]);
    assert_eq!(changed("resume web-1"), [true]);
    assert_eq!(changed("kill web-1"), [true]);
    assert_eq!(changed("kill web-1"), [false]);
    assert_eq!(changed("stop web-1"), [false]);
    assert_eq!(changed("start web-1"), [true]);
    assert_eq!(changed("start web"), [false, false, false]);
    let session = env.ps();
    let generations: Vec<_> = session["services"]["web"]["replicas"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["generation"].clone())
        .collect();
    assert_eq!(generations, [2, 1, 1]);
}

#[test]
fn a_target_is_a_replica_a_service_or_a_list() {
    let env = world!();
    env.stack(&format!(
        "{WEB}\n[service.db]\nrun = \"{{fixture}} tcp --port 5432\"\nports = {{ sql = 5432 }}\n"
    ));
    env.up();
    let dead = |env: &TestEnv| -> Vec<String> {
        let session = env.ps();
        let services = session["services"].as_object().unwrap().clone();
        let replicas = services.values().flat_map(|one| one["replicas"].as_array().unwrap().clone());
        replicas
            .filter(|one| one["state"] != "ready")
            .map(|one| one["name"].as_str().unwrap().to_owned())
            .collect()
    };
    env.run("kill web-1 db").ok();
    assert_eq!(dead(&env), ["db-1", "web-1"]);
    env.run("start db web").ok();
    assert_eq!(dead(&env), Vec::<String>::new());
    env.run("stop web").ok();
    assert_eq!(dead(&env), ["web-1", "web-2", "web-3"]);
    env.run("start web-1 web-2 web-3").ok();
    assert_eq!(dead(&env), Vec::<String>::new());
    // One wrong name and nothing at all is done.
    env.run("kill web-1 nobody --json").json_error(ErrorCode::ReplicaNotFound);
    assert_eq!(dead(&env), Vec::<String>::new());
    env.run("kill web-4").ends_with(6).complains(&["web-4"]);
    env.run("kill").ends_with(2);
}

#[test]
fn restarts_asked_for_at_once_become_few() {
    let env = world!();
    env.stack(
        r#"
        [service.web]
        run = "{fixture} http --port 80 --after 300"
        ports = { http = 80 }
        "#,
    );
    env.up();
    let asked: Vec<_> = (0..8).map(|_| env.belljar(["restart", "web-1", "--json"]).spawn()).collect();
    for one in asked {
        let answer = one.finish().json();
        assert_eq!(
            answer["replicas"][0]["state"], "ready",
            "each is told when its own has been served: {answer:#}"
        );
    }
    let generation = env.replica("web-1")["generation"].as_u64().unwrap();
    // They need not all have arrived during the first, so a few are allowed; eight would be no coalescing.
    assert!((2..=5).contains(&generation), "{generation}");
    let events = env.events();
    let mut requested: Vec<u64> = Vec::new();
    let mut served: Vec<u64> = Vec::new();
    let mut merged = 0;
    for event in &events {
        match &event.kind {
            EventKind::RestartRequested { request, merged_into, .. } => {
                requested.push(*request);
                merged += usize::from(merged_into.is_some());
            }
            EventKind::RestartServed { request, .. } => served.push(*request),
            _ => {}
        }
    }
    requested.sort_unstable();
    served.sort_unstable();
    assert_eq!(requested.len(), 8);
    assert_eq!(requested, served, "no request is dropped");
    assert!(merged >= 3, "{merged} merged");
}

#[test]
fn a_replica_that_does_not_come_back_is_told_to_whoever_asked() {
    let env = world!();
    env.script(
        "fragile",
        "#!/bin/sh\ntest ! -e {dir}/broken || { echo cannot start; exit 3; }\necho up\nexec {fixture} stay\n",
    );
    env.stack("[service.web]\nrun = \"{dir}/fragile\"\nready = { log = \"up\" }\n");
    env.up();
    env.write("broken", "");
    let output = env.run("restart web-1");
    assert_ne!(output.code(), 0, "{output}");
    output.complains(&["web-1"]);
    assert_eq!(env.replica("web-1")["state"], "failed");
    fs_err::remove_file(env.dir().join("broken")).unwrap();
    env.run("start web-1").ok();
    assert_eq!(env.replica("web-1")["state"], "ready");
}

#[test]
fn every_fault_is_an_event() {
    let env = world!();
    env.stack(WEB);
    env.up();
    env.run("pause web-1").ok();
    env.run("resume web-1").ok();
    env.run("kill web-1").ok();
    let kinds: Vec<Value> =
        env.events().iter().map(|event| serde_json::to_value(event).unwrap()["kind"].clone()).collect();
    for kind in ["replica.paused", "replica.resumed", "replica.exited"] {
        assert!(kinds.iter().any(|one| one == kind), "{kind} in {kinds:?}");
    }
}
