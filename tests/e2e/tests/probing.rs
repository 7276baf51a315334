//! `probe`: readiness checks by hand, and why they do not hold.

use belljar_e2e::{LONG, TestEnv, eventually, world};
use belljar_model::ErrorCode;
use insta::assert_snapshot;

/// A service of each kind that runs and does not become ready.
const NEVER_READY: &str = r#"
[service.tcp]
run = "{fixture} tcp --port 7001"
ports = { main = 7000 }
ready = { tcp = "main", within = "60s" }

[service.deaf]
run = "{fixture} stay"
ports = { main = 7000 }
ready = { tcp = true, within = "60s" }

[service.web]
run = "{fixture} http --port 80 --delay-ready 600000"
ports = { http = 80 }
ready = { http = "/health", within = "60s" }

[service.words]
run = "{fixture} http --port 80"
ports = { http = 80 }
ready = { http = "/health", body = "^all is well$", within = "60s" }

[service.command]
run = "{fixture} stay"
ready = { exec = ["sh", "-c", "echo looking; echo 'no such table' >&2; exit 3"], within = "60s" }

[service.log]
shell = "echo Server is starting; echo Listening on port 70; echo idle; exec {fixture} stay"
ready = { log = "^server is listening$", within = "60s" }

[service.mute]
run = "{fixture} stay"
ready = { log = "^up$", within = "60s" }

[service.file]
run = "{fixture} stay"
ready = { file = "/tmp/app/run/ready", within = "60s" }

[service.socket]
run = "{fixture} unix-socket /tmp/app.sock --only-bind true"
ready = { socket = "/tmp/app.sock", within = "60s" }

[service.notify]
run = "{fixture} stay"
ready = { notify = true, within = "60s" }
"#;

#[track_caller]
fn probe(env: &TestEnv, what: &str) -> String {
    env.run(&format!("probe {what}")).shown()
}

#[test]
fn each_kind_of_check_says_why_it_does_not_hold() {
    let env = world!();
    env.stack(NEVER_READY);
    let up = env.belljar(["up"]).spawn();
    eventually("all of them run", LONG, || {
        let session: serde_json::Value = serde_json::from_str(&env.run("ps --json").stdout).ok()?;
        let services = session["services"].as_object()?.clone();
        let runs = |one: &serde_json::Value| one["replicas"][0]["state"] == "running";
        (services.len() == 10 && services.values().all(runs)).then_some(())
    });
    eventually("the log says it", LONG, || env.run("logs log").stdout.contains("idle").then_some(()));
    assert_snapshot!(probe(&env, "tcp"), @r"
    exit: 8
    --- stdout
    tcp-1 is running
      TCP 7000 takes connections: does not hold (TIME)
      nothing listens on 10.77.1.1:7000
      it listens on 0.0.0.0:7001
    --- stderr
    ");
    assert_snapshot!(probe(&env, "deaf"), @r"
    exit: 8
    --- stdout
    deaf-1 is running
      TCP 7000 takes connections: does not hold (TIME)
      nothing listens on 10.77.2.1:7000
      it listens on no TCP port at all
    --- stderr
    ");
    assert_snapshot!(probe(&env, "web"), @r"
    exit: 8
    --- stdout
    web-1 is running
      GET http://web-1:80/health answers any 2xx: does not hold (TIME)
      GET /health answered 503: not yet
    --- stderr
    ");
    assert_snapshot!(probe(&env, "words"), @r"
    exit: 8
    --- stdout
    words-1 is running
      GET http://words-1:80/health answers any 2xx and a body that matches /^all is well$/: does not hold (TIME)
      GET /health answered 200 with a body that does not match /^all is well$/: ready
    --- stderr
    ");
    assert_snapshot!(probe(&env, "command"), @r"
    exit: 8
    --- stdout
    command-1 is running
      `sh -c echo looking; echo 'no such table' >&2; exit 3` ends with code 0: does not hold (TIME)
      `sh -c echo looking; echo 'no such table' >&2; exit 3` ended with exit code 3
      it said:
        looking
        no such table
    --- stderr
    ");
    assert_snapshot!(probe(&env, "log"), @r"
    exit: 8
    --- stdout
    log-1 is running
      a line of its log matches /^server is listening$/: does not hold (TIME)
      no line of its log matched /^server is listening$/
      these lines came near:
        Server is starting
        Listening on port 70
    --- stderr
    ");
    assert_snapshot!(probe(&env, "mute"), @r"
    exit: 8
    --- stdout
    mute-1 is running
      a line of its log matches /^up$/: does not hold (TIME)
      no line of its log matched /^up$/
      it has said nothing
    --- stderr
    ");
    assert_snapshot!(probe(&env, "file"), @r"
    exit: 8
    --- stdout
    file-1 is running
      /tmp/app/run/ready exists: does not hold (TIME)
      /tmp/app/run/ready does not exist
      /tmp is there, and has no app
    --- stderr
    ");
    assert_snapshot!(probe(&env, "socket"), @r"
    exit: 8
    --- stdout
    socket-1 is running
      /tmp/app.sock takes connections: does not hold (TIME)
      /tmp/app.sock takes no connections
      /tmp/app.sock is there, but nobody listens on it
    --- stderr
    ");
    assert_snapshot!(probe(&env, "notify"), @r"
    exit: 8
    --- stdout
    notify-1 is running
      it sends READY=1: does not hold (TIME)
      it has not sent READY=1
      it gets the socket's path as NOTIFY_SOCKET
    --- stderr
    ");
    env.run("down").ok();
    up.finish().ends_with(5);
}

#[test]
fn what_is_ready_holds_and_what_is_down_does_not() {
    let env = world!();
    env.stack(
        "[service.web]\nrun = \"{fixture} http --port 80 --fail-health {dir}/sick\"\nports = { http = 80 }\n\
         replicas = 2\nready = { http = \"/health\" }\n",
    );
    env.up();
    assert_snapshot!(probe(&env, "web"), @r"
    exit: 0
    --- stdout
    web-1 is ready
      GET http://web-1:80/health answers any 2xx: holds (TIME)
    web-2 is ready
      GET http://web-2:80/health answers any 2xx: holds (TIME)
    --- stderr
    ");
    let answer = env.run("probe web-2 --json").json();
    assert_eq!(answer["probes"].as_array().unwrap().len(), 1, "{answer:#}");
    assert_eq!(
        (&answer["probes"][0]["holds"], &answer["probes"][0]["replica"]),
        (&true.into(), &"web-2".into())
    );

    env.write("sick", "");
    let output = env.run("probe web --json").ends_with(8);
    assert_eq!(output.document()["probes"][1]["holds"], false);
    assert!(output.document()["probes"][1]["why"].as_str().unwrap().contains("503"), "{output}");
    // A probe is a look: nothing has changed for it.
    assert_eq!(env.replica("web-1")["state"], "ready");
    fs_err::remove_file(env.dir().join("sick")).unwrap();

    env.run("kill web-1").ok();
    assert_snapshot!(probe(&env, "web-1"), @r"
    exit: 8
    --- stdout
    web-1 is exited
      GET http://web-1:80/health answers any 2xx: does not hold (TIME)
      it does not run; it is exited: killed by SIGKILL
      its last lines:
        listening on 0.0.0.0:80
    --- stderr
    ");
    env.run("pause web-2").ok();
    env.run("probe web-2").ends_with(8).prints(&["web-2 is paused", "does not hold"]);
    env.run("resume web-2").ok();
    env.run("probe web-3 --json").json_error(ErrorCode::ReplicaNotFound);
}
