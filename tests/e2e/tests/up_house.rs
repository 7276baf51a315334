//! One session per checkout, its stable name, and whose it is.

use std::path::PathBuf;

use belljar_e2e::{TestEnv, is_root, world};
use belljar_model::ErrorCode;
use rustix::process::Signal;
use serde_json::Value;

const STACK: &str = "name = \"shop\"\n[service.web]\nrun = \"{fixture} stay\"\n";

/// Another checkout: a directory of the same name elsewhere.
fn checkout(env: &TestEnv, place: &str) -> PathBuf {
    let dir = env.dir().join(place).join("shop");
    env.write(&format!("{place}/shop/belljar.toml"), STACK);
    fs_err::create_dir_all(dir.join("deep/er")).unwrap();
    dir
}

fn up(env: &TestEnv, dir: &PathBuf) -> Value {
    env.belljar(["up", "--json"]).cwd(dir).run().json()
}

fn link(env: &TestEnv) -> Option<String> {
    let target = fs_err::read_link(env.state_dir().join("sessions/by-stack/shop")).ok()?;
    Some(target.strip_prefix("..").unwrap().to_str().unwrap().to_owned())
}

#[test]
fn two_checkouts_of_a_repository_never_meet() {
    let env = world!();
    let (one, two) = (checkout(&env, "a"), checkout(&env, "b"));
    // A clone has a directory `.git`, another worktree of it a file.
    fs_err::create_dir(one.join(".git")).unwrap();
    fs_err::write(two.join(".git"), "gitdir: ../../a/shop/.git/worktrees/shop\n").unwrap();
    let (first, second) = (up(&env, &one), up(&env, &two));
    assert_ne!(first["id"], second["id"]);
    assert_eq!((&first["name"], &second["name"]), (&"shop".into(), &"shop-2".into()));
    for (dir, session) in [(&one, &first), (&two, &second)] {
        assert_eq!(up(&env, dir)["id"], session["id"], "each finds its own");
        let deep = env.belljar(["ps", "--json"]).cwd(dir.join("deep/er")).run().json();
        assert_eq!(deep["id"], session["id"]);
    }
    let listed = env.run("ls --json").json();
    let listed = listed["sessions"].as_array().unwrap();
    for (dir, one) in [&one, &two].into_iter().zip(listed) {
        assert_eq!(one["worktree"], dir.to_str().unwrap(), "{one:#}");
        assert_eq!(one["directory"], dir.to_str().unwrap());
        assert!(one["owner"].is_string() && one["age_ms"].is_i64(), "{one:#}");
    }
    env.belljar(["down"]).cwd(&one).run().ok();
    assert_eq!(up(&env, &two)["id"], second["id"]);
}

#[test]
fn a_stack_has_a_stable_name_for_its_newest_session() {
    let env = world!();
    let (one, two) = (checkout(&env, "a"), checkout(&env, "b"));
    let id = |session: &Value| Some(session["id"].as_str().unwrap().to_owned());
    let (first, second) = (up(&env, &one), up(&env, &two));
    assert_eq!(link(&env), id(&second));
    assert!(env.state_dir().join("sessions/by-stack/shop/events.jsonl").is_file());
    env.belljar(["run", "--", "true"]).cwd(&one).run().ok();
    assert_eq!(link(&env), id(&second), "a session that has ended gives it back");
    env.belljar(["down"]).cwd(&two).run().ok();
    assert_eq!(link(&env), id(&first), "the next newest");
    // Nobody is left to say that one was killed; the next session says it.
    let host =
        env.processes("stay").into_iter().map(|one| env.ancestors(&one).pop().unwrap()).next().unwrap();
    host.kill();
    belljar_e2e::eventually("it is dead", belljar_e2e::LONG, || {
        (env.run("ls --json").json()["sessions"][0]["state"] == "dead").then_some(())
    });
    assert_eq!(link(&env), id(&first));
    let third = up(&env, &two);
    assert_eq!(link(&env), id(&third));
    env.run("down --all").ok();
    assert_eq!(link(&env), None);
}

#[test]
fn a_session_is_meant_by_its_name_too() {
    let env = world!();
    env.stack(STACK);
    env.run("up --name one").ok();
    env.run("up --name two").ok();
    env.belljar(["up", "-s", "one", "--replicas", "web=2"]).cwd("/").run().ok().complains(&["start web-2"]);
    assert_eq!(env.processes("stay").len(), 3);
    env.run("up -s none --json").json_error(ErrorCode::SessionNotFound);
}

#[test]
fn nobody_ends_or_changes_the_sessions_of_others() {
    let env = world!();
    if !is_root() {
        // Another user cannot even look into the directory.
        return;
    }
    env.stack(STACK);
    let chown = |path: &std::path::Path| {
        let done =
            std::process::Command::new("chown").args(["-R", "belljar-tester:"]).arg(path).status().unwrap();
        assert!(done.success());
    };
    if !std::process::Command::new("id").arg("belljar-tester").output().unwrap().status.success() {
        return;
    }
    chown(env.root());
    let program = env.program();
    let theirs = |words: &[&str]| {
        let program = program.to_str().unwrap();
        let before = ["-u", "belljar-tester", "--", program];
        env.command("runuser", before.into_iter().chain(words.iter().copied())).run().ok()
    };
    theirs(&["up"]);
    let listed = env.run("ls --json").json()["sessions"][0].clone();
    assert_eq!((&listed["owner"], &listed["state"]), (&"belljar-tester".into(), &"ready".into()));
    env.run("down --all").ok();
    assert_eq!(env.processes("stay").len(), 1, "root has none of its own here");
    env.run("down project --json").json_error(ErrorCode::SessionNotOwned);
    env.run("up -s project --replicas web=2 --json").json_error(ErrorCode::SessionNotOwned);
    env.run("scale -s project web=2 --json").json_error(ErrorCode::SessionNotOwned);
    theirs(&["down", "--all"]);
    assert_eq!(env.processes("stay").len(), 0);
}

#[test]
fn a_session_goes_on_without_the_up_that_changed_it() {
    let env = world!();
    env.stack(STACK);
    env.up();
    env.stack(&format!(
        "{STACK}[service.slow]\nrun = \"{{fixture}} http --after 800 --port 80\"\nports = {{ http = 80 }}\n"
    ));
    let changing = env.belljar(["up"]).spawn();
    changing.until_complains("start slow-1");
    belljar_e2e::eventually("slow-1 is on its way", belljar_e2e::LONG, || {
        (!env.processes("--after 800").is_empty()).then_some(())
    });
    changing.signal(Signal::INT);
    changing.finish().ends_with(130).complains(&["what was begun goes on"]);
    env.until_replica("slow-1", "ready");
    env.run("up").ok().complains(&["is ready already"]);
}
