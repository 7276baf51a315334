//! What stays on disk, and what removes it.

use belljar_e2e::{TestEnv, world};

const WEB: &str = "[service.web]\nrun = \"{fixture} http --port 80\"\nports = { http = 80 }\n";

/// Seconds by which a command's clock is set forward.
const LATER: &str = "__BELLJAR_TEST_CLOCK_OFFSET";

#[track_caller]
fn up(env: &TestEnv, name: &str) -> String {
    env.belljar(["up", "--name", name, "--json"]).run().json()["id"].as_str().unwrap().to_owned()
}

/// Starts a session and kills its host process.
#[track_caller]
fn dead(env: &TestEnv, name: &str) -> String {
    let id = up(env, name);
    let replica = env.processes("http --port 80").pop().expect("a replica runs");
    env.ancestors(&replica).pop().expect("something hosts it").kill();
    env.nothing_is_left_within(std::time::Duration::from_secs(1));
    id
}

fn is_on_disk(env: &TestEnv, id: &str) -> bool {
    !env.state_paths_with(id).is_empty()
}

#[test]
fn clean_removes_a_dead_session_but_never_a_fresh_one() {
    let env = world!();
    env.stack(WEB);
    let id = dead(&env, "one");
    env.run("clean").ok();
    assert!(is_on_disk(&env, &id), "younger than a minute");
    env.belljar(["clean"]).env(LATER, "30").run().ok();
    assert!(is_on_disk(&env, &id), "younger than a minute");
    env.belljar(["clean"]).env(LATER, "120").run().ok();
    assert!(!is_on_disk(&env, &id), "{:?}", env.state_paths_with(&id));
    let all = env.run("ls --all --json").json();
    assert_eq!(all["sessions"].as_array().map(Vec::len), Some(0), "{all:#}");
}

#[test]
fn clean_touches_nothing_alive_however_late_it_is() {
    let env = world!();
    env.stack(WEB);
    let dead = dead(&env, "dead");
    let live = up(&env, "live");
    for words in [&["clean"][..], &["clean", "--all"]] {
        env.belljar(words.iter().copied()).env(LATER, "31536000").run().ok();
        assert!(is_on_disk(&env, &live));
        env.run("exec -s live -- {fixture} get http://web/").ok();
    }
    assert!(!is_on_disk(&env, &dead));
    env.run("down live").ok();
}

#[test]
fn clean_keeps_what_has_ended_within_its_retention_and_all_removes_it() {
    let env = world!();
    env.stack(WEB);
    let id = up(&env, "one");
    env.run("down one").ok();
    env.belljar(["clean"]).env(LATER, "120").run().ok();
    assert!(is_on_disk(&env, &id), "its logs may still be wanted");
    env.belljar(["clean", "--all"]).env(LATER, "120").run().ok();
    assert!(!is_on_disk(&env, &id), "{:?}", env.state_paths_with(&id));
}

#[test]
fn clean_says_what_it_removed() {
    let env = world!();
    env.stack(WEB);
    let id = dead(&env, "one");
    let output = env.belljar(["clean"]).env(LATER, "120").run().ok();
    assert!(format!("{}{}", output.stdout, output.stderr).contains(&id), "{output}");
}

#[test]
fn clean_removes_nothing_that_it_did_not_make() {
    let env = world!();
    env.stack(WEB);
    let id = dead(&env, "one");
    let session_dir = env
        .state_paths_with(&id)
        .into_iter()
        .find(|path| path.is_dir() && path.file_name().is_some_and(|name| name == id.as_str()))
        .expect("a session has a directory");
    let stranger = session_dir.parent().unwrap().join("zzzz-zzz9");
    fs_err::create_dir(&stranger).unwrap();
    fs_err::write(stranger.join("file"), "mine").unwrap();
    let outside = env.root().join("outside");
    fs_err::create_dir(&outside).unwrap();
    fs_err::write(outside.join("file"), "mine").unwrap();
    fs_err::os::unix::fs::symlink(&outside, session_dir.join("link")).unwrap();
    env.belljar(["clean", "--all"]).env(LATER, "120").run().ok();
    assert!(!session_dir.exists());
    assert!(stranger.join("file").exists(), "it is in no registry: never by name pattern");
    assert!(outside.join("file").exists(), "a link is removed, not what it points to");
}

#[test]
fn what_a_replica_wrote_can_be_removed_by_its_user() {
    let env = world!();
    env.stack(
        "[service.web]\nrun = \"{fixture} http --port 80\"\nports = { http = 80 }\nvolumes = { data = \"/data\" }\n",
    );
    let id = up(&env, "one");
    let script = "mkdir -p /data/deep/er && echo x > /data/deep/er/file && chmod 700 /data/deep && chmod 500 /data/deep/er";
    env.belljar(["exec", "web-1", "--", "sh", "-c", script]).run().ok();
    env.run("down one").ok();
    env.belljar(["clean", "--all"]).env(LATER, "120").run().ok();
    assert!(!is_on_disk(&env, &id), "{:?}", env.state_paths_with(&id));
}

#[test]
fn the_link_to_the_latest_session_is_never_broken() {
    let env = world!();
    env.stack(WEB);
    let first = up(&env, "one");
    let latest = || {
        let link = env.files_named("latest").into_iter().next().expect("a link to the latest");
        fs_err::read_link(link).unwrap().to_string_lossy().into_owned()
    };
    assert!(latest().contains(&first));
    let second = up(&env, "two");
    assert!(latest().contains(&second));
    env.run("down --all").ok();
}

#[test]
fn a_store_that_is_not_ours_is_an_error_and_stays_as_it_is() {
    let env = world!();
    env.stack(WEB);
    env.up();
    env.run("down").ok();
    let registry = env
        .state_paths_with("")
        .into_iter()
        .find(|path| path.is_file() && path.extension().is_some_and(|one| one == "db" || one == "sqlite"))
        .expect("a registry");
    for path in env.state_paths_with(registry.file_name().unwrap().to_str().unwrap()) {
        fs_err::write(
            path,
            "this is no database, and was one a moment ago; it is long enough to be read as such\n",
        )
        .unwrap();
    }
    let output = env.run("ls --json");
    assert_eq!(output.code(), 1, "{output}");
    assert!(output.stderr.contains("store-corrupt"), "{output}");
    assert!(
        fs_err::read_to_string(&registry).unwrap().starts_with("this is no database"),
        "nothing was put in its place"
    );
}
