//! A changed stack file, and `up` again: only what differs is changed, and it is said what that is.

use belljar_e2e::{TestEnv, world};
use belljar_model::{ErrorCode, EventKind};
use serde_json::{Value, json};

const STACK: &str = r#"
    [service.db]
    run = "{fixture} tcp --port 5432"
    ports = { sql = 5432 }

    [task.migrate]
    run = "{fixture} exit 0 --say one"
    after = ["db"]

    [service.api]
    run = "{fixture} http --port 8080 --name ${self.name}"
    ports = { http = 8080 }
    replicas = 2
    after = ["migrate"]
    env = { LEVEL = "info" }

    [service.web]
    run = "{fixture} http --port 80"
    ports = { http = 80 }
    after = ["api"]
    env = { API = "${api.addr.http}" }
"#;

/// The process of each replica, by the session's numbers.
fn pids(env: &TestEnv) -> Vec<(String, Value)> {
    let session = env.ps();
    let services = session["services"].as_object().unwrap().values();
    let replicas = services.flat_map(|one| one["replicas"].as_array().unwrap().clone());
    replicas.map(|one| (one["name"].as_str().unwrap().to_owned(), one["pid"].clone())).collect()
}

fn changed(before: &[(String, Value)], after: &[(String, Value)]) -> Vec<String> {
    let same = |one: &&(String, Value)| !before.contains(one);
    after.iter().filter(same).map(|(name, _)| name.clone()).collect()
}

#[test]
fn without_a_change_it_says_so_and_touches_nothing() {
    let env = world!();
    env.stack(STACK);
    env.up();
    let before = pids(&env);
    env.run("up").ok().complains(&["is ready already"]);
    // From another terminal with another PATH, and with a comment more in the file.
    env.belljar(["up"])
        .env("PATH", "/usr/bin:/bin:/opt/none")
        .env("LANG", "C")
        .run()
        .ok()
        .complains(&["is ready already"]);
    env.stack(&format!("# nothing\n{STACK}"));
    env.run("up --plan").ok().prints(&["nothing would change"]);
    env.run("up").ok().complains(&["is ready, and nothing of it had to be started"]);
    assert_eq!(pids(&env), before);
}

#[test]
fn only_what_differs_is_started_again() {
    let env = world!();
    env.stack(STACK);
    env.up();
    let before = pids(&env);
    env.stack(&STACK.replace("\"info\"", "\"debug\""));
    let plan = env.run("up --plan").ok();
    insta::assert_snapshot!(plan.stdout.lines().skip(1).collect::<Vec<_>>().join("\n"), @r#"
    ~ api          restart api-1, api-2 (env LEVEL)
    = 3 others stay as they are
    "#);
    assert_eq!(pids(&env), before, "to look at it changes nothing");
    env.run("up").ok().complains(&[
        "~ api",
        "restart api-1, api-2 (env LEVEL)",
        "= 3 others stay as they are",
        "done in",
    ]);
    assert_eq!(changed(&before, &pids(&env)), ["api-1", "api-2"]);
    env.run("exec api-1 -- {fixture} print-env LEVEL").ok().prints_exactly("debug\n");
    env.run("up").ok().complains(&["is ready already"]);
}

#[test]
fn a_change_reaches_those_that_refer_to_it_in_the_order_of_the_stack() {
    let env = world!();
    env.stack(STACK);
    env.up();
    let before = pids(&env);
    env.stack(&STACK.replace("8080", "8081"));
    env.run("up").ok().complains(&["web", "env API"]);
    assert_eq!(changed(&before, &pids(&env)), ["api-1", "api-2", "web-1"]);
    env.run("exec -- {fixture} get http://api-2:8081/").ok();
    let events = env.events();
    let at = |wanted: &str, ready: bool| {
        let is_it = |kind: &EventKind| match kind {
            EventKind::ReplicaReady { replica, generation: 2, .. } => ready && replica.as_str() == wanted,
            EventKind::ReplicaStopping { replica, .. } => !ready && replica.as_str() == wanted,
            _ => false,
        };
        events.iter().find(|event| is_it(&event.kind)).map(|event| event.seq).unwrap()
    };
    assert!(at("web-1", false) > at("api-1", true).max(at("api-2", true)), "web comes after api");
    assert!(events.iter().all(|one| !matches!(one.kind, EventKind::SessionDegraded { .. })));
}

#[test]
fn a_task_that_differs_runs_again_before_what_comes_after_it() {
    let env = world!();
    env.stack(STACK);
    env.up();
    let before = pids(&env);
    env.stack(&STACK.replace("--say one", "--say two").replace("\"info\"", "\"debug\""));
    env.run("up").ok().complains(&["migrate", "(run)"]);
    assert_eq!(changed(&before, &pids(&env)), ["api-1", "api-2"]);
    env.run("logs migrate").ok().prints(&["one", "two"]);
    // One that fails stops the change; those that come after it are as they were.
    let before = pids(&env);
    env.stack(&STACK.replace("exit 0 --say one", "exit 3 --say three").replace("\"info\"", "\"trace\""));
    let said = env.run("up").ends_with(5);
    assert!(
        said.stderr.contains("task migrate failed: it ended with exit code 3")
            && said.stderr.contains("three"),
        "{said}"
    );
    assert_eq!(pids(&env), before);
    assert_eq!(env.ps()["state"], "ready");
    env.run("up --plan").ok().prints(&["migrate", "api-1, api-2"]);
    env.stack(&STACK.replace("\"info\"", "\"trace\""));
    env.run("up").ok();
    assert_eq!(changed(&before, &pids(&env)), ["api-1", "api-2"]);
}

#[test]
fn services_and_tasks_come_and_go() {
    let env = world!();
    env.stack(STACK);
    env.up();
    let before = pids(&env);
    // In front of the others, whose addresses stay what they are all the same.
    let cache = "[service.cache]\nrun = \"{fixture} tcp --port 6379\"\nports = { tcp = 6379 }\n";
    let warm = "[task.warm]\nrun = \"{fixture} exit 0 --say warm\"\nafter = [\"cache\"]\n";
    env.stack(&format!("{cache}{warm}{STACK}"));
    env.run("up").ok().complains(&["+ cache", "start cache-1", "+ warm"]);
    assert_eq!(changed(&before, &pids(&env)), ["cache-1"]);
    assert_eq!(env.replica("cache-1")["host"], "10.77.4.1");
    env.run("exec -- {fixture} connect cache 6379").ok();
    let web = STACK.find("[service.web]").unwrap();
    env.stack(&STACK[..web]);
    env.run("up").ok().complains(&["- cache", "stop cache-1", "- web", "- warm"]);
    assert_eq!(changed(&before, &pids(&env)), [""; 0]);
    assert_eq!(pids(&env).len(), 3);
    env.run("exec -- {fixture} connect web 80").ends_with(3);
    env.stack(STACK);
    env.run("up").ok();
    assert_eq!(
        (env.replica("web-1")["host"].clone(), env.replica("web-1")["generation"].clone()),
        (json!("10.77.3.1"), json!(2))
    );
}

#[test]
fn what_can_not_change_while_it_runs_needs_down_first() {
    let env = world!();
    env.stack(STACK);
    env.up();
    let before = pids(&env);
    env.stack(&format!("filesystem = \"ro\"\nname = \"other\"\n{STACK}"));
    for words in ["up", "up --plan"] {
        env.run(words).ends_with(7).complains(&[
            "name and filesystem of the stack have changed, which session project cannot take over while it runs",
            "`belljar down project` ends it",
        ]);
    }
    env.run("up --json").json_error(ErrorCode::ChangeNeedsDown);
    assert_eq!(pids(&env), before);
}

#[test]
fn a_file_with_faults_changes_nothing() {
    let env = world!();
    env.stack(STACK);
    env.up();
    let before = pids(&env);
    env.stack(&STACK.replace("after = [\"api\"]", "after = [\"apy\"]"));
    env.run("up").ends_with(3).complains(&["there is no service or task `apy`", "did you mean `api`?"]);
    assert_eq!(pids(&env), before);
}

#[test]
fn what_was_said_once_holds_until_it_is_forgotten() {
    let env = world!();
    env.stack(STACK);
    env.run("up --set service.api.env.LEVEL=trace").ok();
    env.run("scale api=3").ok();
    env.run("up --set service.api.env.MORE=1").ok();
    env.run("exec api-3 -- {fixture} print-env LEVEL").ok().prints_exactly("trace\n");
    env.run("exec api-3 -- {fixture} print-env MORE").ok().prints_exactly("1\n");
    env.run("up --forget").ok().complains(&["stop api-3", "env LEVEL, env MORE"]);
    env.run("exec api-1 -- {fixture} print-env LEVEL").ok().prints_exactly("info\n");
}

#[test]
fn variables_of_the_host_that_the_stack_names_are_looked_up_again() {
    let env = world!();
    env.stack(&STACK.replace("\"info\"", "\"${env.LEVEL}\""));
    env.belljar(["up"]).env("LEVEL", "one").run().ok();
    env.belljar(["up"]).env("LEVEL", "one").run().ok().complains(&["is ready already"]);
    // A scale needs none of the caller's.
    env.run("scale api=3").ok();
    env.run("exec api-3 -- {fixture} print-env LEVEL").ok().prints_exactly("one\n");
    env.belljar(["up"]).env("LEVEL", "two").run().ok().complains(&["env LEVEL"]);
    env.run("exec api-3 -- {fixture} print-env LEVEL").ok().prints_exactly("two\n");
    env.run("up").ends_with(3).complains(&["the variable `LEVEL` is not set"]);
}

#[test]
fn an_edition_is_named_as_belljar_names_one_or_refused() {
    let env = world!();
    env.stack(STACK);
    env.up();
    let dir = env.files_named("edition.json")[0].parent().unwrap().to_owned();
    let control = env.run("ls --json").json()["sessions"][0]["id"].as_str().unwrap().to_owned();
    let socket = env.root().join("run/belljar").join(&control);
    assert!(socket.exists(), "{}", socket.display());
    for name in [
        "../edition-1.json",
        "edition.json",
        "edition-.json",
        "edition-x.json",
        "edition-1.json/../edition-2.json",
    ] {
        let body = json!({ "edition": name, "dry": true }).to_string();
        let script =
            format!("curl -s --unix-socket \"$BELLJAR_CONTROL\" -X POST http://x/v1/apply -d '{body}'");
        let answer = env.belljar(["exec", "--", "sh", "-c", &script]).run().ok().document();
        assert_eq!(answer["error"]["code"], "invalid-request", "{name}: {answer:#}");
    }
    let left: Vec<_> = fs_err::read_dir(dir).unwrap().map(|one| one.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with("edition-")), "{left:?}");
}
