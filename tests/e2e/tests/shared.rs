//! Shared isolation: the same stack file on the host's network, where namespaces are refused.

use belljar_e2e::{Cmd, LONG, TestEnv, eventually, is_root, lacks_sealing, needs, world};
use belljar_model::ErrorCode;

const WEB: &str = r#"
    [service.web]
    run = "{fixture} http --port ${self.port.http} --name ${self.name} --tag ${self.name}"
    ports = { http = 8080 }
    replicas = 2

    [service.front]
    run = "{fixture} http --port ${self.port.http} --name ${web-1.addr.http}+${web-2.port.http}"
    ports = { http = 8080 }
    after = ["web"]
"#;

/// Where user namespaces are refused, as in many containers: for real, by a limit of none.
fn refused(env: &TestEnv, words: &str) -> Cmd {
    let closed =
        format!("echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv --inh-caps=-all belljar {words}");
    let script = if is_root() {
        // Root keeps all of its users, so that replicas can become one of them. Who is in a user namespace can only
        // be said from outside.
        format!(
            "mkfifo go\n\
             unshare --user --keep-caps sh -c 'read -r _ <go; {closed}' &\n\
             until [ \"$(readlink /proc/$!/ns/user)\" != \"$(readlink /proc/$$/ns/user)\" ]; do :; done\n\
             for map in uid gid; do echo 0 0 65535 >/proc/$!/${{map}}_map; done\n\
             echo >go\n\
             rm go\n\
             wait $!"
        )
    } else {
        let closed = closed.replace("setpriv", "setpriv --ambient-caps=-all");
        format!("exec unshare --user --map-current-user --keep-caps sh -c '{closed}'")
    };
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", env.root().join("bin").display());
    env.command("sh", ["-c", &script]).env("PATH", path)
}

#[test]
fn where_namespaces_are_refused_isolation_is_shared_and_says_so() {
    // The machine has to let the test make the namespace in which no other can be made.
    let env = world!();
    env.stack(WEB);
    env.script("show", "#!/bin/sh\necho \"web-2 at $WEB_2_ADDR\"\nbelljar exec web-1 -- id -u\n");
    let ended = refused(&env, "run -- ./show").run().ok();
    assert!(ended.stdout.contains("web-2 at 127.0.0.1:"), "{}", ended.stdout);
    assert!(!ended.stdout.lines().any(|line| line == "0"), "servers refuse root: {}", ended.stdout);
    ended.complains(&[
        "note: sessions cannot be sealed here (cannot make a user namespace: ",
        "isolation is shared; `belljar doctor` says what that costs",
    ]);

    // What was asked for is not replaced.
    refused(&env, "run --isolation sealed -- true")
        .run()
        .ends_with(125)
        .complains(&["cannot make a user namespace"]);
    // `doctor` says why, as far as the machine tells.
    let doctor = refused(&env, "doctor").run().ok();
    doctor.prints(&[
        "LACK  user namespaces: cannot make a user namespace",
        "there may be none (/proc/sys/user/max_user_namespaces is 0)",
    ]);

    // The others that start sessions.
    refused(&env, "up").run().ok().complains(&["isolation is shared"]);
    let host = env.replica("web-1")["host"].clone();
    assert_eq!(host, "127.0.0.1");
    env.run("down --all").ok();
}

#[test]
fn a_run_of_tests_decides_once_and_says_so_once() {
    let env = world!();
    env.stack(&format!("{WEB}\n[suite.all]\nscenarios = \"scenarios/*\"\n"));
    for name in ["one", "two"] {
        env.script(
            &format!("scenarios/{name}"),
            "#!/bin/sh\nset -e\ncase $WEB_1_ADDR in 127.0.0.1:*) ;; *) exit 1 ;; esac\n",
        );
    }
    let ended = refused(&env, "test -j 2").run().ok();
    assert_eq!(ended.stderr.matches("isolation is shared").count(), 1, "{}", ended.stderr);
    assert!(ended.stdout.contains("2 passed"), "{}", ended.stdout);
}

#[test]
fn every_replica_is_at_a_port_of_its_own() {
    let env = TestEnv::new();
    env.stack(WEB);
    env.run("up --isolation shared").ok();
    let ports: Vec<u64> = ["web-1", "web-2", "front-1"]
        .iter()
        .map(|name| env.replica(name)["ports"]["http"].as_u64().expect("a port"))
        .collect();
    assert!(ports[0] != ports[1] && ports[1] != ports[2] && ports[0] != ports[2], "{ports:?}");
    let names = format!("127.0.0.1:{}+{}", ports[0], ports[1]);
    for (port, answer) in ports.iter().zip(["web-1", "web-2", names.as_str()]) {
        let url = format!("http://127.0.0.1:{port}/");
        env.command(&env.fixture().display().to_string(), ["get", &url]).run().ok().prints(&[answer]);
    }
    // Commands are told where everything is; what has no single meaning is not set at all.
    let variables = env.run("env --json").json();
    let variables = &variables["env"];
    assert_eq!(variables["WEB_2_ADDR"], format!("127.0.0.1:{}", ports[1]));
    assert_eq!(variables["WEB_1_URL"], format!("http://127.0.0.1:{}", ports[0]));
    assert_eq!(variables["WEB_HOST"], "127.0.0.1");
    assert_eq!(variables["WEB_REPLICAS"], "web-1,web-2");
    assert_eq!(variables["FRONT_PORT"], ports[2].to_string());
    for absent in ["WEB_PORT", "WEB_ADDR", "WEB_URL"] {
        assert!(variables[absent].is_null(), "{absent}: {variables:#}");
    }
    env.run("url web-2").ok().prints(&[&format!("http://127.0.0.1:{}", ports[1])]);
    env.run("url front").ok().prints(&[&format!("http://127.0.0.1:{}", ports[2])]);
    let refusal = env.run("url web --json").json_error(ErrorCode::PortNotFound);
    assert!(refusal.contains("ports of its own"), "{refusal}");
}

#[test]
fn a_stack_can_ask_for_it_and_a_command_line_has_the_last_word() {
    let env = world!();
    env.stack(&format!("isolation = \"shared\"\n{WEB}"));
    env.run("up").ok();
    assert_eq!(env.replica("web-1")["host"], "127.0.0.1");
    env.run("down").ok();
    env.run("run --isolation sealed -- {fixture} get http://web-2:8080/").ok().prints(&["web-2"]);
    env.run("run --isolation none -- true").ends_with(2);
}

#[test]
fn what_it_cannot_do_is_an_error_before_the_start() {
    let env = TestEnv::new();
    env.stack(
        r#"
        filesystem = "ro"
        [service.web]
        run = "{fixture} stay"
        files = { "/etc/web.conf" = "x" }
        volumes = { data = "/var/lib/web" }
    "#,
    );
    for verb in ["up --isolation shared", "run --isolation shared -- true"] {
        let ended = env.run(verb);
        let ended = if verb.starts_with("run") { ended.ends_with(125) } else { ended.ends_with(3) };
        ended.complains(&[
            "`filesystem` needs a sealed session",
            "the file `/etc/web.conf` needs a sealed session",
            "the volume `data` at a path of its own needs a sealed session",
        ]);
    }
    assert!(env.footprint().is_empty());
    env.write("scenarios/none", "");
    env.stack("home = \"private\"\n[suite.all]\nscenarios = \"scenarios/*\"\n");
    env.run("test --isolation shared")
        .ends_with(3)
        .complains(&["`home = \"private\"` needs a sealed session"]);
    // A stack that asks for it is told by `check`.
    env.stack("isolation = \"shared\"\nhome = \"private\"\n");
    env.run("check").ends_with(3).complains(&["`home = \"private\"` needs a sealed session"]);
}

#[test]
fn files_volumes_and_temporary_files_are_the_replicas_own() {
    let env = TestEnv::new();
    env.stack(
        r#"
        [service.one]
        shell = "test -w ${self.data} || exit 1; cat ${self.data}/etc/one.conf ${session.dir}/files/two.conf; echo kept > ${self.data}/kept; touch $TMPDIR/mine; echo tmp $TMPDIR; exec {fixture} stay"
        volume = true
        files = { "${self.data}/etc/one.conf" = "I am ${self.name}\n", "${session.dir}/files/two.conf" = "second\n" }
        ready = { file = "${self.data}/kept" }

        [task.look]
        shell = "touch $TMPDIR/mine; echo task $TMPDIR"
        after = ["one"]
    "#,
    );
    env.run("up --isolation shared").ok();
    let logs = env.run("logs").ok();
    logs.prints(&["I am one-1", "second", "/tmp/one-1", "/tmp/look"]);
    let dir = env.files_named("mine");
    assert_eq!(dir.len(), 2, "{dir:?}");
    env.script("touch-tmp", "#!/bin/sh\ntouch \"$TMPDIR/mine\"\n");
    env.run("exec -- ./touch-tmp").ok();
    assert_eq!(env.files_named("mine").len(), 3);
    // A second start finds the volume as it was.
    env.run("restart one").ok();
    assert_eq!(env.files_named("kept").len(), 1);
}

#[test]
fn the_verbs_mean_what_they_mean_in_a_sealed_session() {
    let env = TestEnv::new();
    env.stack(WEB);
    env.run("up --isolation shared").ok();
    let port = env.replica("web-1")["ports"]["http"].clone();
    let address = format!("127.0.0.1 {port}");
    let connects = || env.run(&format!("exec -- {{fixture}} connect {address}")).code() == 0;

    env.run("pause web-1").ok();
    let process = env.process("--tag web-1");
    assert!(process.thread_states().iter().all(|state| *state == 'T'), "{process:?}");
    env.run("resume web-1").ok();
    assert!(connects());

    env.run("kill web-1").ok();
    assert!(env.processes("--tag web-1").is_empty());
    assert_eq!(env.replica("web-1")["exit"]["signal"], "SIGKILL");
    // Nobody else gets its port meanwhile, and nobody is answered there.
    assert!(!connects());
    let taken = std::net::TcpListener::bind(("127.0.0.1", u16::try_from(port.as_u64().unwrap()).unwrap()));
    assert!(taken.is_err(), "the port is held");

    env.run("start web-1").ok();
    assert_eq!(env.replica("web-1")["ports"]["http"], port);
    assert!(connects());
    env.run("restart web").ok();
    assert_eq!(env.replica("web-1")["ports"]["http"], port);
    assert!(connects());
    env.run("stop web-1").ok();
    env.run("wait web-1 --for exited --within 5s").ok();
    let tmp = env.run("exec web-2 -- {fixture} print-env TMPDIR").ok();
    assert!(tmp.stdout.trim().ends_with("/tmp/web-2"), "{}", tmp.stdout);
    env.run("logs web-2").ok().prints(&["listening on"]);
    assert_eq!(env.replica("web-1")["state"], "exited");
}

#[test]
fn a_replica_that_says_it_is_ready_is_heard() {
    let env = TestEnv::new();
    env.stack(
        r#"
        [service.speaks]
        run = "{fixture} notify --after 20"
        ready = { notify = true }

        [service.writes]
        run = "{fixture} log-lines --count 3"
        ready = { log = "line 3" }

        [service.listens]
        run = "{fixture} unix-socket ${self.data}/socket"
        volume = true
        ready = { socket = "${self.data}/socket" }

        [service.checked]
        run = "{fixture} http --port ${self.port.http}"
        ports = { http = 80 }
        ready = { exec = ["{fixture}", "connect", "${self.host}", "${self.port.http}"] }
    "#,
    );
    env.run("up --isolation shared").ok();
    for name in ["speaks-1", "writes-1", "listens-1", "checked-1"] {
        assert_eq!(env.replica(name)["state"], "ready");
    }
}

#[test]
fn a_listener_is_handed_over_in_either_isolation() {
    needs!("python3");
    let env = TestEnv::new();
    env.write(
        "serve.py",
        "import os, socket, sys\n\
         assert os.environ['LISTEN_FDS'] == '1', os.environ\n\
         assert os.environ['LISTEN_FDNAMES'] == 'http'\n\
         assert int(os.environ['LISTEN_PID']) == os.getpid()\n\
         listener = socket.socket(fileno=3)\n\
         while True:\n\
         \x20   with listener.accept()[0] as client:\n\
         \x20       client.recv(1000)\n\
         \x20       client.sendall(b'HTTP/1.0 200 OK\\r\\n\\r\\nhanded over')\n",
    );
    env.stack(
        r#"
        [service.web]
        run = "python3 serve.py"
        ports = { http = { port = 8080, listen = true } }
        ready = { http = "/" }
    "#,
    );
    env.script("get", "#!/bin/sh\nexec bin/fixture get \"$WEB_1_URL/\"\n");
    let isolations = if lacks_sealing() { vec!["shared"] } else { vec!["shared", "sealed"] };
    for isolation in isolations {
        env.run(&format!("up --isolation {isolation}")).ok();
        env.run("exec -- ./get").ok().prints(&["handed over"]);
        env.run("kill web-1").ok();
        env.run("exec -- ./get").ends_with(7);
        env.run("start web-1").ok();
        env.run("exec -- ./get").ok().prints(&["handed over"]);
        env.run("down").ok();
        eventually("nothing is left", LONG, || env.footprint().processes.is_empty().then_some(()));
    }
}

#[test]
fn two_sessions_of_one_stack_are_beside_each_other() {
    let env = TestEnv::new();
    env.stack(WEB);
    env.run("up --isolation shared --name one").ok();
    env.run("up --isolation shared --new --name two").ok();
    let port = |session: &str| {
        let view = env.run(&format!("ps -s {session} --json")).json();
        view["services"]["front"]["replicas"][0]["ports"]["http"].as_u64().expect("a port")
    };
    assert_ne!(port("one"), port("two"));
    env.run("down one").ok();
    let url = format!("http://127.0.0.1:{}/", port("two"));
    env.run(&format!("exec -s two -- {{fixture}} get {url}")).ok();
    env.run("down two").ok();
}

#[test]
fn a_session_keeps_its_stack_and_its_replicas() {
    let env = TestEnv::new();
    env.stack(WEB);
    env.run("up --isolation shared").ok();
    let before = env.ps();
    let refused = |words: &str| {
        let said = env.run(&format!("{words} --json")).json_error(ErrorCode::Unsupported);
        assert!(said.contains("is in shared isolation"), "{words}: {said}");
        env.run(words).complains(&["belljar down", "belljar up"]);
        assert_eq!(env.ps(), before, "{words}");
    };
    refused("scale web=3");
    refused("scale web=1");
    refused("up --replicas web=3");
    refused("up --plan --set service.web.env.LOG=debug");
    env.stack(&format!("{WEB}\n[service.late]\nrun = \"{{fixture}} stay\"\n"));
    refused("up");
    refused("up --plan");
    // What changes nothing of the stack is no matter of isolation.
    env.stack(WEB);
    env.run("up --plan").ok().prints(&["nothing would change"]);
    env.run("up").ok().complains(&["is ready already"]);
    env.run("up --ttl 1h").ok().complains(&["it ends by itself in 1h"]);
    assert_eq!(env.ps()["services"], before["services"]);
    env.run("down").ok();
    env.run("up --isolation shared --replicas web=3").ok();
    assert_eq!(env.replica("web-3")["state"], "ready");
    // Nothing is leased for what is only looked at.
    env.run("down").ok();
    env.run("up --dry-run --isolation shared --metrics --replicas web=3")
        .ok()
        .prints(&["web-3 at 127.0.0.1"]);
}

#[test]
fn a_limit_is_carried_out_or_an_error() {
    let env = TestEnv::new();
    env.stack("[service.web]\nrun = \"{fixture} stay\"\nlimits = { pids = 50 }\n");
    let doctor = env.run("doctor --json").json();
    let all = doctor["capabilities"].as_array().unwrap();
    let limits = all.iter().find(|one| one["name"] == "limits on processes").expect("it is looked at");
    let ended = env.run("run --isolation shared -- true");
    if limits["works"] == true {
        ended.ok();
    } else {
        ended.ends_with(125).complains(&["`web-1` cannot be limited in its `pids` here"]);
    }
}

#[test]
fn a_root_without_power_can_run_servers_too() {
    // As in a container of Docker's: root, with these capabilities and no others.
    const CAPABILITIES: &str = "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap";
    if !is_root() {
        return;
    }
    let env = TestEnv::new();
    env.stack(WEB);
    let program = env.program().display().to_string();
    let words =
        ["--bounding-set", CAPABILITIES, "--inh-caps", "-all", &program, "up", "--isolation", "shared"];
    env.command("setpriv", words).run().ok();
    env.run("exec web-1 -- {fixture} print-env TMPDIR").ok();
    env.run("restart web").ok();
    env.run("pause front").ok();
    env.run("kill front").ok();
    env.run("down").ok();
}
