//! `up`, `ls`, `ps`, `exec`, `url`, `env`, `down`: a session in the background.

use std::time::Duration;

use belljar_client::wire::SessionView;
use belljar_e2e::{TestEnv, world};
use belljar_model::{ErrorCode, ReplicaState, SessionState};
use serde_json::{Value, json};

const WEB: &str = r#"
    name = "shop"

    [service.web]
    run = "{fixture} http --port 8080 --name ${self.name}"
    ports = { http = 8080, admin = 9090 }
    ready = { tcp = "http" }
    replicas = 2

    [service.db]
    run = "{fixture} tcp --port 5432"
    ports = { sql = 5432 }

    [task.migrate]
    run = "{fixture} exit 0 --say migrated"
    after = ["db"]
"#;

#[test]
fn up_leaves_a_ready_session_and_down_leaves_nothing() {
    let env = world!();
    env.stack(WEB);
    env.up();
    assert_eq!(env.processes("http --port 8080").len(), 2);
    env.run("exec -- {fixture} get http://web-2:8080/").ok().prints_exactly("web-2\n");
    env.run("down").ok();
    env.nothing_is_left_within(Duration::from_secs(1));
    env.run("ps --json").json_error(ErrorCode::SessionNotFound);
    assert_eq!(env.run("ls --json").json(), json!({ "sessions": [] }));
}

#[test]
fn up_and_ps_print_the_session_in_the_agreed_shape() {
    let env = world!();
    env.stack(WEB);
    let up = env.run("up --json").json();
    let session: SessionView = serde_json::from_value(up.clone()).expect("the wire's own type reads it");
    assert_eq!(session.state, SessionState::Ready);
    assert_eq!(session.stack.as_str(), "shop");
    assert_eq!(up["name"], "project", "the default name is the directory's");
    assert!(belljar_model::SessionId::new(up["id"].as_str().unwrap()).is_ok(), "{up:#}");
    let web = &up["services"]["web"]["replicas"];
    assert_eq!(web.as_array().map(Vec::len), Some(2), "{up:#}");
    for (index, replica) in web.as_array().unwrap().iter().enumerate() {
        assert_eq!(replica["name"], format!("web-{}", index + 1));
        assert_eq!(replica["state"], "ready");
        assert_eq!(replica["ports"], json!({ "http": 8080, "admin": 9090 }));
        assert_eq!(replica["published"], json!({}));
        assert!(replica["host"].as_str().unwrap().parse::<std::net::Ipv4Addr>().is_ok());
    }
    assert_eq!(up["tasks"]["migrate"]["state"], "succeeded", "{up:#}");
    let ps: SessionView = serde_json::from_value(env.ps()).unwrap();
    assert_eq!(ps.services, session.services, "ps prints the session as up does");
    assert!(ps.services.values().flat_map(|one| &one.replicas).all(|one| one.state == ReplicaState::Ready));
}

#[test]
fn ps_names_every_replica_with_its_state() {
    let env = world!();
    env.stack(WEB);
    env.up();
    env.run("kill web-1").ok();
    let output = env.run("ps").ok().prints(&["web-1", "web-2", "db-1", "ready"]);
    let line = output.stdout.lines().find(|line| line.contains("web-1")).unwrap();
    assert!(!line.contains("ready"), "{output}");
}

#[test]
fn a_second_plain_up_finds_the_session() {
    let env = world!();
    env.stack(WEB);
    let first = env.run("up --json").json();
    let second = env.run("up --json").json();
    assert_eq!(first["id"], second["id"]);
    let output = env.run("up").ok();
    assert!(format!("{}{}", output.stdout, output.stderr).contains("project"), "it says which: {output}");
    let listed = env.run("ls --json").json();
    assert_eq!(listed["sessions"].as_array().map(Vec::len), Some(1), "{listed:#}");
}

#[test]
fn new_starts_another_with_the_next_free_name() {
    let env = world!();
    env.stack(WEB);
    env.up();
    assert_eq!(env.run("up --new --json").json()["name"], "project-2");
    assert_eq!(env.run("up --new --json").json()["name"], "project-3");
    env.run("down project-2").ok();
    assert_eq!(env.run("up --new --json").json()["name"], "project-2");
    let listed = env.run("ls --json").json();
    let names: Vec<_> =
        listed["sessions"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names.len(), 3, "{listed:#}");
    env.run("down --all").ok();
    env.nothing_is_left_within(Duration::from_secs(1));
}

#[test]
fn two_sessions_of_one_stack_know_nothing_of_each_other() {
    let env = world!();
    env.stack(WEB);
    env.run("up --name one").ok();
    env.run("up --name two").ok();
    env.belljar(["exec", "-s", "one", "--", "sh", "-c", "echo one > /tmp/who"]).run().ok();
    env.run("exec -s two -- ls /tmp/who").ends_with(2);
    env.run("kill -s one web-1").ok();
    env.run("exec -s two -- {fixture} get http://web-1:8080/").ok();
    env.run("exec -s one -- {fixture} connect web-1 8080").ends_with(1);
    env.run("down one").ok();
    env.run("exec -s two -- {fixture} get http://web-1:8080/").ok().prints_exactly("web-1\n");
}

#[test]
fn ls_tells_live_sessions_and_with_all_the_ended_ones_too() {
    let env = world!();
    env.stack(WEB);
    env.run("up --name first").ok();
    env.run("up --name second").ok();
    env.run("down first").ok();
    let live = env.run("ls --json").json();
    assert_eq!(live["sessions"].as_array().map(Vec::len), Some(1), "{live:#}");
    assert_eq!(live["sessions"][0]["name"], "second");
    assert_eq!(live["sessions"][0]["state"], "ready");
    let all = env.run("ls --all --json").json();
    let states: std::collections::BTreeMap<_, _> = all["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap().to_owned(), one["state"].clone()))
        .collect();
    assert_eq!(states["first"], "ended", "{all:#}");
    assert_eq!(states["second"], "ready", "{all:#}");
    env.run("ls").ok().prints(&["second"]);
    env.run("ls --all").ok().prints(&["first", "ended"]);
}

#[test]
fn reading_changes_nothing() {
    let env = world!();
    env.stack(WEB);
    env.up();
    env.run("kill web-1").ok();
    let before = env.events().len();
    for words in [
        "ls --all --json",
        "ps --json",
        "logs",
        "events",
        "env --json",
        "url --inside web:http --json",
        "check",
        "plan",
    ] {
        env.run(words).ok();
    }
    assert_eq!(env.events().len(), before);
    assert_eq!(env.replica("web-1")["generation"], 1);
}

#[test]
fn exec_runs_in_the_session_and_in_a_replica_with_its_code() {
    let env = world!();
    env.stack(WEB);
    env.up();
    for code in [0, 7, 125, 126, 127] {
        assert_eq!(env.run(&format!("exec -- {{fixture}} exit {code}")).code(), code);
        assert_eq!(env.run(&format!("exec web-1 -- {{fixture}} exit {code}")).code(), code);
    }
    env.run("exec web-2 -- hostname").ok().prints_exactly("web-2\n");
    env.run("exec -- no-such-command").ends_with(127);
    env.belljar(["exec", "web-1", "--", "cat"]).stdin("through\n").run().ok().prints_exactly("through\n");
    // The replica's port answers on its own loopback, as for anything inside it.
    env.run("exec web-1 -- {fixture} get http://127.0.0.1:8080/").ok().prints_exactly("web-1\n");
    env.run("exec db-1 -- {fixture} connect 127.0.0.1 8080").ends_with(1);
    env.run("exec web-9 -- true").ends_with(125).complains(&["web-9"]);
}

#[test]
fn exec_has_the_replicas_environment_and_the_commands_own() {
    let env = world!();
    env.stack(
        r#"
        [service.web]
        run = "{fixture} http --port 80"
        ports = { http = 80 }
        env = { COLOUR = "green" }
        "#,
    );
    env.up();
    env.run("exec web-1 -- {fixture} print-env COLOUR").ok().prints_exactly("green\n");
    env.run("exec -- {fixture} print-env COLOUR").ends_with(1);
    env.run("exec -- {fixture} print-env WEB_PORT").ok().prints_exactly("80\n");
}

#[test]
fn ending_exec_ends_its_command_and_nothing_else() {
    let env = world!();
    env.stack(WEB);
    env.up();
    let running =
        env.belljar(["exec", "web-1", "--", "sh", "-c", "echo here; exec {fixture} stay --tag ex"]).spawn();
    running.until_prints("here");
    running.signal(rustix::process::Signal::TERM);
    assert_eq!(running.finish().code(), 143);
    belljar_e2e::eventually("the command is gone", Duration::from_secs(1), || {
        env.processes("--tag ex").is_empty().then_some(())
    });
    assert_eq!(env.replica("web-1")["state"], "ready");
    // A caller that is killed cannot say goodbye; its command ends all the same.
    let running = env.belljar(["exec", "--", "sh", "-c", "echo here; exec {fixture} stay --tag ex"]).spawn();
    running.until_prints("here");
    running.signal(rustix::process::Signal::KILL);
    assert_eq!(running.finish().code(), 137);
    belljar_e2e::eventually("the command is gone", Duration::from_secs(1), || {
        env.processes("--tag ex").is_empty().then_some(())
    });
}

#[test]
fn url_tells_where_a_service_is_inside_the_session() {
    let env = world!();
    env.stack(WEB);
    env.up();
    for words in
        ["url --inside web", "url --inside web-2", "url --inside web:http", "url --inside web-2:http"]
    {
        let url = env.run(words).ok().stdout;
        let url = url.strip_suffix('\n').expect("one line");
        assert!(url.starts_with("http://"), "{words}: {url}");
        env.run(&format!("exec -- {{fixture}} get {url}")).ok().prints(&["web-"]);
    }
    assert_eq!(env.run("url --inside db").ok().stdout, "db:5432\n");
    assert!(env.run("url --inside web:http --json").json()["url"].is_string());
    env.run("url nothing --json").json_error(ErrorCode::ReplicaNotFound);
    env.run("url web:nothing --json").json_error(ErrorCode::PortNotFound);
}

#[test]
fn env_prints_what_commands_get() {
    let env = world!();
    env.stack(WEB);
    let id = env.run("up --json").json()["id"].as_str().unwrap().to_owned();
    let document = env.run("env --json").json();
    let variables = &document["env"];
    assert_eq!(variables["BELLJAR_SESSION"], id.as_str(), "{document:#}");
    assert_eq!(variables["WEB_PORT"], "8080");
    assert_eq!(variables["WEB_REPLICAS"], "web-1,web-2");
    assert_eq!(variables["DB_PORT"], "5432");
    for name in ["WEB_HOST", "DB_HOST", "BELLJAR_CONTROL"] {
        assert!(variables[name].as_str().is_some_and(|text| !text.is_empty()), "{name} in {document:#}");
    }
    // What is printed plainly can be read by a shell.
    let plain = env.run("env").ok().stdout;
    let script = format!("{plain}\necho \"$WEB_PORT $BELLJAR_SESSION\"");
    let shell = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&shell.stdout), format!("8080 {id}\n"), "{plain}");
}

#[test]
fn down_ends_only_what_is_named() {
    let env = world!();
    env.stack(WEB);
    for name in ["one", "two", "three"] {
        env.run(&format!("up --name {name}")).ok();
    }
    env.run("down one three").ok();
    let listed = env.run("ls --json").json();
    assert_eq!(names(&listed), ["two"]);
    env.run("down one --json").json_error(ErrorCode::SessionEnded);
    env.run("down nobody --json").json_error(ErrorCode::SessionNotFound);
    env.run("down").ok();
    env.nothing_is_left_within(Duration::from_secs(1));
}

#[test]
fn down_ends_everything_at_once_however_deaf_it_is() {
    let env = world!();
    env.stack(
        r#"
        [service.deaf]
        run = "{fixture} ignore-term"
        stop = { within = "60s" }
        replicas = 3
        "#,
    );
    env.up();
    let output = env.run("down").ok();
    assert!(output.took < Duration::from_secs(3), "{output}");
    assert!(env.footprint().processes.is_empty(), "true on return: {}", env.footprint());
}

#[test]
fn a_name_can_be_used_again_after_its_session_has_ended() {
    let env = world!();
    env.stack(WEB);
    let first = env.run("up --name again --json").json();
    env.run("down again").ok();
    let second = env.run("up --name again --json").json();
    assert_ne!(first["id"], second["id"], "ids are never reused");
    // The ended one is still told apart by its id.
    let all = env.run("ls --all --json").json();
    assert_eq!(names(&all), ["again", "again"]);
}

#[test]
fn the_state_directory_is_where_it_is_asked_for() {
    let env: TestEnv = world!();
    env.stack(WEB);
    let elsewhere = env.root().join("elsewhere");
    let at = elsewhere.to_str().unwrap();
    env.belljar(["--state-dir", at, "up"]).run().ok();
    assert!(elsewhere.is_dir() && !env.state_dir().exists());
    env.belljar(["down"]).env("BELLJAR_STATE_DIR", at).run().ok();
    env.belljar(["ls", "--all"])
        .env_remove("BELLJAR_STATE_DIR")
        .env("XDG_STATE_HOME", env.root().join("xdg"))
        .run()
        .ok();
    env.nothing_is_left_within(Duration::from_secs(1));
}

fn names(listed: &Value) -> Vec<String> {
    listed["sessions"]
        .as_array()
        .unwrap_or_else(|| panic!("a list of sessions: {listed:#}"))
        .iter()
        .map(|one| one["name"].as_str().expect("a name").to_owned())
        .collect()
}
