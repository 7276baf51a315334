//! `bundle`: everything about a session in one archive, and nothing that is not meant for others.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use belljar_e2e::{TestEnv, world};
use belljar_model::ErrorCode;
use rustix::process::Signal;
use serde_json::Value;

const STACK: &str = r#"name = "shop"
env = { STRIPE_KEY = "${env.STRIPE_KEY}", DATABASE_URL = "pg://ada:in-the-url@db/shop" }

[service.api]
shell = "echo started with $STRIPE_KEY; echo $DATABASE_URL; exec {fixture} stay"

[suite.all]
scenarios = "scenarios/*"
"#;

/// The archive's files by name, without the directory that they all lie in.
#[track_caller]
fn unpacked(path: &Path) -> BTreeMap<String, String> {
    assert_eq!(fs_err::metadata(path).unwrap().permissions().mode() & 0o777, 0o600, "it is for nobody else");
    let file = fs_err::File::open(path).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let mut files = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        assert!(entry.header().entry_type().is_file(), "{:?}", entry.path());
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        let (top, name) = path.split_once('/').expect("all lies in one directory");
        assert!(top.starts_with("belljar-"), "{path}");
        let mut text = Vec::new();
        entry.read_to_end(&mut text).unwrap();
        let old = files.insert(name.to_owned(), String::from_utf8_lossy(&text).into_owned());
        assert!(old.is_none(), "{path} is there twice");
    }
    files
}

#[track_caller]
fn bundle(env: &TestEnv, words: &str) -> BTreeMap<String, String> {
    let file = env.root().join("out.tar.gz");
    let _ = fs_err::remove_file(&file);
    let words = format!("bundle {words} -o {}", file.display());
    env.belljar(words.split_whitespace()).env("STRIPE_KEY", "sk_live_12345").run().ok();
    unpacked(&file)
}

#[track_caller]
fn has_all_of_it(files: &BTreeMap<String, String>) {
    let names = [
        "README.txt",
        "doctor.json",
        "environment.json",
        "events.jsonl",
        "logs/api-1.log",
        "plan.json",
        "repeat.sh",
        "session.json",
        "stack/belljar.toml",
        "versions.json",
    ];
    for name in names {
        assert!(files.contains_key(name), "{name} in {:?}", files.keys());
    }
    for (name, text) in files {
        assert!(!text.contains("sk_live_12345"), "{name} tells the key:\n{text}");
        assert!(!text.contains("in-the-url"), "{name} tells the password:\n{text}");
    }
    assert!(
        files["logs/api-1.log"].contains("started with [redacted: STRIPE_KEY]"),
        "{}",
        files["logs/api-1.log"]
    );
    assert!(files["README.txt"].contains("STRIPE_KEY"), "{}", files["README.txt"]);
    let json = |name: &str| serde_json::from_str::<Value>(&files[name]).unwrap();
    assert!(json("doctor.json")["capabilities"].is_array());
    assert!(json("versions.json")["belljar"].as_str().unwrap().contains('('));
    assert_eq!(json("environment.json")["STRIPE_KEY"], "[not shown]");
    assert_eq!(json("environment.json")["LANG"], "C.UTF-8");
    assert_eq!(json("plan.json")["replicas"][0]["env"]["STRIPE_KEY"], "[redacted: STRIPE_KEY]");
}

fn up(env: &TestEnv) {
    env.belljar(["up"]).env("STRIPE_KEY", "sk_live_12345").run().ok();
}

#[test]
fn a_live_session_an_ended_one_and_a_dead_one_are_bundled_alike() {
    let env = world!();
    env.stack(STACK);
    up(&env);
    let files = bundle(&env, "");
    has_all_of_it(&files);
    assert!(files["session.json"].contains("\"state\": \"ready\""), "{}", files["session.json"]);
    assert!(files["repeat.sh"].contains("belljar up -f"), "{}", files["repeat.sh"]);
    // What is kept on disk for it tells no secret either.
    let plan = fs_err::read_to_string(&env.files_named("plan.json")[0]).unwrap();
    assert!(!plan.contains("sk_live_12345") && plan.contains("[redacted: STRIPE_KEY]"), "{plan}");

    env.run("down").ok();
    let files = bundle(&env, "project");
    has_all_of_it(&files);
    assert!(files["session.json"].contains("\"state\": \"ended\""), "{}", files["session.json"]);

    up(&env);
    let host = env.run("ls --json").json()["sessions"][0]["host_pid"].as_i64().unwrap();
    let host = rustix::process::Pid::from_raw(i32::try_from(host).unwrap()).unwrap();
    rustix::process::kill_process(host, Signal::KILL).unwrap();
    env.nothing_is_left_within(std::time::Duration::from_secs(5));
    let files = bundle(&env, "-s project");
    has_all_of_it(&files);
    assert!(files["session.json"].contains("\"state\": \"dead\""), "{}", files["session.json"]);
}

#[test]
fn a_failed_scenario_is_bundled_with_what_it_kept_and_how_to_repeat_it() {
    let env = world!();
    env.stack(STACK);
    let secret = env.root().join("not-yours");
    fs_err::write(&secret, "outside").unwrap();
    env.script(
        "scenarios/fails",
        &format!(
            "#!/bin/sh\ncd $BELLJAR_ARTIFACTS\nmkdir deep\necho seen > deep/page.html\nln -s {} stolen\n\
             ln -s / root\nmkfifo pipe\nexit 1\n",
            secret.display()
        ),
    );
    env.belljar(["test"]).env("STRIPE_KEY", "sk_live_12345").run().ends_with(10);
    let files = bundle(&env, "all-fails");
    has_all_of_it(&files);
    assert_eq!(files["artifacts/deep/page.html"], "seen\n");
    assert!(files["repeat.sh"].contains("--filter 'all::fails'"), "{}", files["repeat.sh"]);
    // Nothing that a scenario links to comes along, and nobody waits for its pipe.
    for left_out in ["artifacts/stolen: a link", "artifacts/root: a link", "artifacts/pipe: no plain file"] {
        assert!(files["README.txt"].contains(left_out), "{}", files["README.txt"]);
    }
    assert!(
        !files.keys().any(|name| name.contains("stolen") || name.contains("root/")),
        "{:?}",
        files.keys()
    );
    assert!(!files.values().any(|text| text.contains("outside")));
    // A directory that was exchanged for a link is none of the session's any more.
    let events = env.files_named("events.jsonl");
    let session =
        events.iter().find(|path| path.parent().unwrap().join("logs").is_dir()).unwrap().parent().unwrap();
    fs_err::rename(session.join("logs"), session.join("moved")).unwrap();
    symlink("/etc", session.join("logs")).unwrap();
    let files = bundle(&env, "all-fails");
    assert!(!files.keys().any(|name| name.starts_with("logs/")), "{:?}", files.keys());
}

#[test]
fn a_long_log_keeps_its_beginning_and_its_end() {
    let env = world!();
    env.stack("[service.loud]\nrun = \"{fixture} flood --lines 400000 --after-that stay\"\nready = { log = \"flood 400000 .*\" }\n");
    env.up();
    let files = bundle(&env, "");
    let log = &files["logs/loud-1.log"];
    assert!(log.len() < 17 << 20, "{}", log.len());
    assert!(log.contains("flood 000001 ") && log.contains("flood 400000 "), "both ends");
    assert!(log.contains("bytes are left out here"), "and it says so");
}

#[test]
fn what_is_there_is_not_overwritten_and_nothing_half_is_left() {
    let env = world!();
    env.stack("[service.api]\nrun = \"{fixture} stay\"\n");
    env.up();
    let told = env.run("bundle --json").json();
    let file = told["file"].as_str().unwrap().to_owned();
    assert!(file.starts_with(&*env.dir().join("belljar-project-").to_string_lossy()), "{file}");
    assert!(told["files"].as_array().unwrap().len() > 8, "{told:#}");
    unpacked(Path::new(&file));
    env.run("bundle --json").json_error(ErrorCode::FileExists);
    env.run("bundle -o no/where.tar.gz --json").json_error(ErrorCode::OutputFailed);
    env.run("bundle nobody --json").json_error(ErrorCode::SessionNotFound);
    assert!(!env.dir().join("no").exists());
}
