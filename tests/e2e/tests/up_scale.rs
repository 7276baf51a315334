//! `scale` and `up --replicas`: replicas come and go while their session runs and takes traffic.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use belljar_e2e::{LONG, TestEnv, world};
use belljar_model::{ErrorCode, EventKind, Folded};
use serde_json::{Value, json};

const WEB: &str = r#"
    [service.web]
    run = "{fixture} http --port 8080 --name ${self.name}"
    ports = { http = 8080 }
    replicas = 2

    [service.db]
    run = "{fixture} tcp --port 5432"
    ports = { sql = 5432 }
    env = { WEB = "${web.url}" }
"#;

fn names(env: &TestEnv) -> Vec<String> {
    let session = env.ps();
    let replicas = session["services"]["web"]["replicas"].as_array().expect("a list").clone();
    replicas.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
}

/// The addresses that a name stands for, by /etc/hosts and by the session's name server alone.
fn addresses(env: &TestEnv, name: &str) -> [String; 2] {
    let by_file = env.run(&format!("exec -- {{fixture}} resolve {name}"));
    let ask = format!("getent -s hosts:dns ahostsv4 {name} | cut -d' ' -f1 | sort -u");
    let by_server = env.belljar(["exec", "--", "sh", "-c", &ask]).run();
    [by_file, by_server].map(|ended| ended.output().stdout.lines().collect::<Vec<_>>().join(" "))
}

#[test]
fn replicas_come_with_the_next_addresses_and_everybody_knows_them() {
    let env = world!();
    env.stack(WEB);
    env.up();
    let before = env.replica("db-1");
    env.run("scale web=4").ok().complains(&["started web-3, web-4"]);
    assert_eq!(names(&env), ["web-1", "web-2", "web-3", "web-4"]);
    for number in 1..=4 {
        let replica = env.replica(&format!("web-{number}"));
        assert_eq!(
            (&replica["state"], &replica["host"]),
            (&json!("ready"), &json!(format!("10.77.1.{number}")))
        );
    }
    let all = "10.77.1.1 10.77.1.2 10.77.1.3 10.77.1.4";
    assert_eq!(addresses(&env, "web"), [all, all]);
    assert_eq!(addresses(&env, "web-4"), ["10.77.1.4", "10.77.1.4"]);
    env.run("exec -- {fixture} get http://web-4:8080/").ok().prints_exactly("web-4\n");
    env.run("exec db-1 -- {fixture} get http://web-3:8080/").ok().prints_exactly("web-3\n");
    env.run("exec web-4 -- {fixture} get http://web-1:8080/").ok().prints_exactly("web-1\n");
    let variables = env.run("env").ok();
    assert!(variables.stdout.contains("WEB_REPLICAS=web-1,web-2,web-3,web-4"), "{variables}");
    assert_eq!(env.replica("db-1")["pid"], before["pid"], "nobody else was touched");
    // A second time there is nothing to do.
    env.run("scale web=4").ok().complains(&["web has 4 already"]);
    // It can be killed, started and looked at as any other.
    env.run("kill web-4").ok();
    env.run("start web-4").ok();
    env.run("logs web-4").ok().prints(&["listening"]);
}

#[test]
fn replicas_that_go_are_stopped_by_their_signal_and_nobody_finds_them_any_more() {
    let env = world!();
    env.stack(WEB);
    env.run("up --replicas web=3").ok();
    env.run("scale web=1").ok().complains(&["stopped web-2, web-3"]);
    assert_eq!(names(&env), ["web-1"]);
    assert_eq!(addresses(&env, "web"), ["10.77.1.1", "10.77.1.1"]);
    assert_eq!(addresses(&env, "web-3"), ["", ""]);
    assert_eq!(env.processes("http --port 8080").len(), 1);
    assert_eq!(env.ps()["state"], "ready");
    env.run("kill web-3 --json").json_error(ErrorCode::ReplicaNotFound);
    env.run("exec web-3 -- true").ends_with(125).complains(&["web-3"]);
    let events = env.events();
    let exits: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::ReplicaExited { replica, exit, expected, .. } => {
                Some((replica.as_str(), exit.signal.clone().unwrap_or_default(), *expected))
            }
            _ => None,
        })
        .collect();
    assert!(exits.iter().all(|(_, signal, expected)| signal == "SIGTERM" && *expected), "{exits:?}");
    assert_eq!(exits.len(), 2);
    assert_eq!(Folded::of(&events).replicas.len(), 2, "web-1 and db-1 are left");
}

#[test]
fn a_name_that_comes_back_is_the_same_replica() {
    let env = world!();
    env.stack(&WEB.replace("replicas = 2", "replicas = 2\n    volume = true"));
    env.up();
    env.belljar(["exec", "web-2", "--", "sh", "-c", "echo mine > /proc/self/cwd/../kept || true"]).run().ok();
    let first = env.replica("web-2");
    env.run("scale web=1").ok();
    env.run("scale web=3").ok();
    let again = env.replica("web-2");
    assert_eq!((&again["generation"], &again["host"]), (&json!(2), &first["host"]), "{again:#}");
    assert_eq!(env.replica("web-3")["generation"], 1);
    let removed =
        env.events().iter().filter(|one| matches!(&one.kind, EventKind::ReplicaRemoved { .. })).count();
    assert_eq!(removed, 1);
}

#[test]
fn who_asks_the_others_sees_no_error_while_replicas_come_and_go() {
    let env = world!();
    env.stack(WEB);
    env.up();
    let until = env.dir().join("enough");
    let urls = ["http://web-1:8080/", "http://web-2:8080/", "http://10.77.1.1:8080/"];
    let words = ["exec", "--", "{fixture}", "keep-asking", "--until", until.to_str().unwrap()];
    let asking = env.belljar(words.into_iter().chain(urls)).spawn();
    asking.until_prints("asking");
    for count in [4, 3, 5, 2, 4, 2] {
        env.run(&format!("scale web={count}")).ok();
    }
    fs_err::write(&until, "").unwrap();
    let said = asking.finish().ok().stdout;
    let answers: u64 = said.lines().last().unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(answers > 100, "{said}");
}

#[test]
fn who_asks_a_service_by_its_name_is_led_to_ready_replicas_alone() {
    let env = world!();
    // A new one takes its time until it listens.
    env.stack(&WEB.replace("http --port 8080", "http --after 300 --port 8080"));
    env.up();
    let until = env.dir().join("enough");
    let words =
        ["exec", "--", "{fixture}", "keep-asking", "--until", until.to_str().unwrap(), "http://web:8080/"];
    let asking = env.belljar(words).spawn();
    asking.until_prints("asking");
    env.run("scale web=4").ok();
    fs_err::write(&until, "").unwrap();
    asking.finish().ok();
}

/// Who answers at a port of the host that is published.
fn who_answers(port: u64) -> Result<String, String> {
    let address = format!("127.0.0.1:{port}");
    let asked = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(&address)?;
        stream.set_read_timeout(Some(LONG))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = asked().map_err(|error| error.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("it is cut off")?;
    if head.contains(" 200 ") { Ok(body.to_owned()) } else { Err(answer) }
}

#[test]
fn the_published_port_of_a_service_leads_to_the_replicas_that_there_are() {
    let env = world!();
    env.stack(
        "[service.api]\nrun = \"{fixture} http --port 80 --name ${self.name}\"\nports = { http = 80 }\n\
         publish = [\"http\"]\n",
    );
    env.up();
    let published = || env.ps()["services"]["api"]["published"]["http"].as_u64().expect("a port");
    let port = published();
    let answers = |count: usize| -> BTreeSet<String> {
        (0..count).map(|_| who_answers(port).expect("an answer")).collect()
    };
    assert_eq!(answers(2), BTreeSet::from(["api-1".to_owned()]));
    env.run("scale api=3").ok();
    assert_eq!(answers(6), ["api-1", "api-2", "api-3"].map(str::to_owned).into());
    assert_eq!(published(), port);
    assert_eq!(
        env.replica("api-2")["published"],
        json!({}),
        "numbers of their own are for those of the start"
    );
    env.run("scale api=1").ok();
    assert_eq!(answers(6), BTreeSet::from(["api-1".to_owned()]));
    env.run("scale api=2").ok();
    assert_eq!(answers(4), ["api-1", "api-2"].map(str::to_owned).into());
}

#[test]
fn one_that_does_not_come_up_is_told_with_what_it_said() {
    let env = world!();
    env.script("bin/picky", "#!/bin/sh\ncase $1 in 3) echo no third one; exit 7;; esac\nexec sleep 1000\n");
    env.stack("[service.web]\nrun = \"bin/picky ${self.index}\"\nreplicas = 2\nready = { exec = [\"true\"], stable = \"200ms\" }\n");
    env.up();
    let said = env.run("scale web=3 --json").json_error(ErrorCode::SessionNotReady);
    assert_eq!(said, "web-3 did not become ready: it ended with exit code 7");
    env.run("scale web=3").ends_with(5).complains(&["web-3 did not become ready", "no third one"]);
    assert_eq!(
        (env.ps()["state"].clone(), env.replica("web-1")["generation"].clone()),
        (json!("degraded"), json!(1))
    );
    env.run("scale web=2").ok();
    assert_eq!(env.ps()["state"], "ready");
}

#[test]
fn wrong_wishes_are_refused_and_change_nothing() {
    let env = world!();
    env.stack(WEB);
    env.up();
    let said = env.run("scale wep=3 --json").json_error(ErrorCode::StackInvalid);
    assert!(said.contains("there is no service `wep`"), "{said}");
    env.run("scale web=201 --json").json_error(ErrorCode::StackInvalid);
    env.run("scale web=0").ends_with(2).complains(&["from 1 on"]);
    env.run("scale web").ends_with(2);
    assert_eq!(names(&env).len(), 2);
}

#[test]
fn a_scenario_can_scale_its_own_session() {
    let env = world!();
    env.stack(&format!("{WEB}\n[suite.s]\nscenarios = \"scenarios/*\"\n"));
    env.script("scenarios/more", "#!/bin/sh\nset -e\nbelljar scale web=3\nbelljar exec web-3 -- true\ntest $(getent ahostsv4 web | cut -d' ' -f1 | sort -u | wc -l) = 3\n");
    env.run("test").ok();
    let inside =
        env.belljar(["run", "--", "sh", "-c", "belljar scale web=1 && belljar ps --json"]).run().ok();
    let session: Value = serde_json::from_str(&inside.stdout).unwrap();
    assert_eq!(session["services"]["web"]["replicas"].as_array().map(Vec::len), Some(1));
}
