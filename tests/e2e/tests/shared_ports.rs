//! Leased ports: no two sessions meet, and whoever else takes one is noticed.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};

use belljar_e2e::{LONG, TestEnv, eventually};
use belljar_model::{ErrorCode, EventKind};

/// The port of a replica as `ps` tells it, once it is known.
fn port_of(env: &TestEnv, replica: &str) -> u16 {
    let port = eventually("the port", LONG, || env.replica(replica)["ports"]["http"].as_u64());
    u16::try_from(port).expect("it is a port")
}

/// Ports of a replica that were taken, as the timeline tells it: from and to.
fn changes(env: &TestEnv) -> Vec<(u16, u16)> {
    let changed = |event: belljar_model::Event| match event.kind {
        EventKind::ReplicaPortChanged { from, to, .. } => Some((from, to)),
        _ => None,
    };
    env.events().into_iter().filter_map(changed).collect()
}

/// A replica that waits until the file `go` is there before it binds its port.
const SLOW: &str = r#"
    [service.web]
    shell = "until [ -e {dir}/go ]; do sleep 0.01; done; exec {fixture} http --port ${self.port.http} --tag slow"
    ports = { http = 80 }

    [service.late]
    run = "{fixture} http --port ${self.port.http} --name at-${web.port.http}"
    ports = { http = 80 }
    after = ["web"]
"#;

/// Starts the stack and takes the port of `web` while nobody has it.
fn rob(env: &TestEnv) -> (belljar_e2e::Running, TcpListener, u16) {
    let up = env.belljar(["up", "--isolation", "shared"]).spawn();
    let stolen = eventually("web-1 was started", LONG, || {
        let session = env.run("ps --json");
        let session = (session.code() == 0).then(|| env.run("ps --json").json())?;
        let web = &session["services"]["web"]["replicas"][0];
        web["pid"].as_i64()?;
        u16::try_from(web["ports"]["http"].as_u64()?).ok()
    });
    let thief = TcpListener::bind(("127.0.0.1", stolen)).expect("it was let go of for its replica");
    (up, thief, stolen)
}

#[test]
fn a_port_that_another_process_takes_is_replaced_before_anybody_knows_it() {
    let env = TestEnv::new();
    env.stack(SLOW);
    let (up, thief, stolen) = rob(&env);
    env.write("go", "");
    let told = up.finish().ok();
    assert!(
        told.stderr.contains(&format!("port {stolen} of web-1 was taken by another process")),
        "{}",
        told.stderr
    );
    let port = port_of(&env, "web-1");
    assert_ne!(port, stolen);
    assert_eq!(changes(&env), [(stolen, port)]);
    let exits: Vec<String> = env
        .events()
        .into_iter()
        .filter_map(|event| match event.kind {
            EventKind::ReplicaExited { why, .. } => why,
            _ => None,
        })
        .collect();
    assert_eq!(exits, [format!("its port {stolen} (`http`) was taken by another process")]);
    // Whoever was started after it has the new one.
    let late = port_of(&env, "late-1");
    env.run(&format!("exec -- {{fixture}} get http://127.0.0.1:{late}/"))
        .ok()
        .prints(&[&format!("at-{port}")]);
    env.run("ps").ok().prints(&[&format!("http:{port}")]);
    drop(thief);
}

#[test]
fn a_replica_that_lives_on_without_its_port_is_not_taken_for_ready() {
    let env = TestEnv::new();
    env.stack(&SLOW.replace(
        "exec {fixture} http --port ${self.port.http} --tag slow",
        "{fixture} http --port ${self.port.http} --tag slow || exec {fixture} stay",
    ));
    let (up, thief, stolen) = rob(&env);
    env.write("go", "");
    up.finish().ok();
    let port = port_of(&env, "web-1");
    assert_eq!(changes(&env), [(stolen, port)]);
    drop(thief);
}

#[test]
fn a_port_that_others_know_already_is_not_replaced() {
    let env = TestEnv::new();
    env.stack(&SLOW.replace("after = [\"web\"]", ""));
    let (up, thief, stolen) = rob(&env);
    env.write("go", "");
    up.finish().ends_with(5).complains(&[
        &format!("its port {stolen} (`http`) was taken by another process"),
        "late-1 has been told of it already",
    ]);
    drop(thief);
}

#[test]
fn a_port_that_is_taken_while_its_replica_starts_again_is_told() {
    let env = TestEnv::new();
    env.stack(SLOW);
    env.write("go", "");
    env.run("up --isolation shared").ok();
    let port = port_of(&env, "web-1");
    env.run("kill web-1").ok();
    fs_err::remove_file(env.dir().join("go")).expect("it is there");
    let start = env.belljar(["start", "web-1"]).spawn();
    let thief = eventually("it was let go of", LONG, || TcpListener::bind(("127.0.0.1", port)).ok());
    env.write("go", "");
    assert_ne!(start.finish().code(), 0);
    let replica = env.until_replica("web-1", "failed");
    assert_eq!(replica["ports"]["http"], port, "{replica:#}");
    assert!(changes(&env).is_empty());
    let [events] = &env.files_named("events.jsonl")[..] else { panic!("one session") };
    let events = fs_err::read_to_string(events).unwrap();
    assert!(events.contains("was taken by another process"), "{events}");
    drop(thief);
    env.run("start web-1").ok();
}

const THREE: &str = r#"
    [service.web]
    run = "{fixture} http --port ${self.port.http} --name ${self.name}"
    ports = { http = 80 }
    replicas = 3
"#;

/// Three ports that nobody has just now, one after another.
fn three_free_ports() -> u16 {
    let own = u16::try_from(std::process::id() % 1000).expect("it is small");
    eventually("three free ports", LONG, || {
        (0..500)
            .map(|step| 62_000 + (own * 3 + step * 3) % 3_000)
            .find(|first| (0..3).all(|next| TcpListener::bind(("127.0.0.1", first + next)).is_ok()))
    })
}

#[test]
fn leases_run_out_with_an_error_and_end_with_their_session() {
    let env = TestEnv::new();
    env.stack(THREE);
    let first = three_free_ports();
    let range = format!("{first}-{}", first + 2);
    let up = |name: &str| {
        env.belljar(["up", "--isolation", "shared", "--new", "--json", "--name", name])
            .env("BELLJAR_PORTS", range.as_str())
            .run()
    };
    up("one").ok();
    let message = up("two").json_error(ErrorCode::PortsExhausted);
    assert!(message.contains("0 free ports were found, and 3 were wanted"), "{message}");
    env.run("down").ok();
    up("three").ok();
    env.run("down").ok();
    let wrong = env.belljar(["up", "--isolation", "shared"]).env("BELLJAR_PORTS", "many").run();
    wrong.ends_with(2).complains(&["BELLJAR_PORTS", "`many` is not a range of ports"]);
}

#[test]
fn sessions_at_once_never_meet_whatever_others_take() {
    let env = TestEnv::new();
    env.stack(
        r#"
        [service.web]
        run = "{fixture} http --port ${self.port.http} --name ${session.name}"
        ports = { http = 80 }

        [service.second]
        run = "{fixture} http --port ${self.port.http} --name second-of-${session.name}"
        ports = { http = 80 }
    "#,
    );
    env.script(
        "look",
        "#!/bin/sh\nset -e\ntest \"$(bin/fixture get \"$WEB_URL/\")\" = \"$1\"\n\
         test \"$(bin/fixture get \"$SECOND_URL/\")\" = \"second-of-$1\"\n",
    );
    let over = AtomicBool::new(false);
    let first = 32_000 - 400 - u16::try_from(std::process::id() % 50).unwrap() * 400;
    let range = format!("{first}-{}", first + 399);
    std::thread::scope(|scope| {
        // It takes ports at random and keeps them, until half of them are its own.
        let thief = scope.spawn(|| {
            let mut taken = Vec::new();
            let mut random = u64::from(std::process::id()) | 1;
            while !over.load(Ordering::Relaxed) {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let port = first + u16::try_from(random % 400).expect("it is small");
                if taken.len() < 200 {
                    taken.extend(TcpListener::bind(("127.0.0.1", port)));
                } else {
                    std::thread::yield_now();
                }
            }
            taken.len()
        });
        let sessions: Vec<_> = (0..8)
            .map(|number| {
                let name = format!("s{number}");
                let words = ["run", "--isolation", "shared", "--name"];
                let run =
                    env.belljar(words.into_iter().chain([name.as_str(), "--", "./look", name.as_str()]));
                run.env("BELLJAR_PORTS", range.as_str()).spawn()
            })
            .collect();
        let ended: Vec<_> = sessions.into_iter().map(belljar_e2e::Running::finish).collect();
        over.store(true, Ordering::Relaxed);
        for one in ended {
            one.ok();
        }
        assert!(thief.join().expect("it does not panic") > 0);
    });
}
