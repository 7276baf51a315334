//! Every recipe of belljar on its real server: it comes up ready, answers its protocol, keeps its data when it is
//! killed, stops by itself, and refuses parameters that do not fit. A file per family of servers; PostgreSQL's and
//! NATS's first tests are in `servers`.

mod anvil;
mod etcd;
mod haproxy;
mod mariadb;
mod mosquitto;
mod nats;
mod nginx;
mod own;
mod postgres;
mod rabbitmq;
mod redis;
mod verbs;
mod zookeeper;

use belljar_e2e::{Cmd, TestEnv};

/// A shell's command line in the session, where `DB_URL` and the like are set.
fn sh(env: &TestEnv, script: &str) -> Cmd {
    env.belljar(["exec", "--", "sh", "-c", script])
}

/// What a shell's command line in the session prints, without the end of its last line.
#[track_caller]
fn says(env: &TestEnv, script: &str) -> String {
    sh(env, script).run().ok().stdout.trim_end().to_owned()
}

/// Waits until a shell's command line in the session ends with 0.
#[track_caller]
fn until(env: &TestEnv, script: &str) {
    env.belljar(["eventually", "--within", "60s", "--", "sh", "-c", script]).run().ok();
}

#[track_caller]
fn kill_and_start(env: &TestEnv, replica: &str) {
    env.run(&format!("kill {replica}")).ok();
    assert_eq!(env.replica(replica)["exit"]["signal"], "SIGKILL");
    env.run(&format!("start {replica}")).ok();
}

/// Stops it. It ended with code 0, and said this last.
#[track_caller]
fn stops_with_zero(env: &TestEnv, replica: &str, last_words: &str) {
    env.run(&format!("stop {replica}")).ok();
    let seen = env.replica(replica);
    assert_eq!(seen["exit"]["code"], 0, "{seen:#}");
    env.run(&format!("logs {replica}")).ok().prints(&[last_words]);
}

/// These parameters are refused before anything starts, and the fault says these words.
#[track_caller]
fn refused(env: &TestEnv, recipe: &str, with: &str, words: &[&str]) {
    env.stack(&format!("[service.it]\nuse = \"{recipe}\"\nwith = {{ {with} }}\n"));
    env.run("check").ends_with(3).complains(&["belljar.toml:3"]).complains(words);
}
