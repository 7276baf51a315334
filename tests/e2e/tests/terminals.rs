//! `run` and `exec` on a terminal.

use belljar_e2e::world;
use rustix::process::Signal;
use serde_json::Value;

fn document(text: &str) -> Value {
    let line = text
        .lines()
        .find(|line| line.contains("\"stdin\""))
        .unwrap_or_else(|| panic!("no answer in: {text}"));
    let start = line.find('{').unwrap();
    serde_json::from_str(line[start..].trim_end()).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn run_gives_the_command_a_terminal_of_the_same_size() {
    let env = world!();
    env.stack("name = \"empty\"\n");
    let (status, text) = env.on_terminal(env.belljar(["run", "--", "{fixture}", "tty"]), 41, 132).finish();
    assert!(status.success(), "{text}");
    let seen = document(&text);
    for field in ["stdin", "stdout", "stderr", "controlling"] {
        assert_eq!(seen[field], true, "{field} in {seen}");
    }
    assert_eq!((&seen["rows"], &seen["columns"]), (&41.into(), &132.into()));
}

#[test]
fn exec_gives_the_command_a_terminal_of_the_same_size() {
    let env = world!();
    env.stack("[service.web]\nrun = \"{fixture} stay\"\n");
    env.up();
    for words in [&["exec", "--", "{fixture}", "tty"][..], &["exec", "web-1", "--", "{fixture}", "tty"]] {
        let (status, text) = env.on_terminal(env.belljar(words.iter().copied()), 33, 99).finish();
        assert!(status.success(), "{text}");
        let seen = document(&text);
        assert_eq!(seen["stdin"], true, "{seen}");
        assert_eq!((&seen["rows"], &seen["columns"]), (&33.into(), &99.into()), "{seen}");
    }
}

#[test]
fn without_a_terminal_the_command_has_none() {
    let env = world!();
    env.stack("name = \"empty\"\n");
    let seen = env.run("run -- {fixture} tty").ok().document();
    for field in ["stdin", "stdout", "stderr"] {
        assert_eq!(seen[field], false, "{seen}");
    }
}

#[test]
fn a_new_size_is_passed_on() {
    let env = world!();
    env.stack("name = \"empty\"\n");
    let script = "trap 'stty size; exit 0' WINCH; echo here; while :; do sleep 0.05; done";
    let terminal = env.on_terminal(env.belljar(["run", "--", "sh", "-c", script]), 24, 80);
    terminal.until_shows("here");
    terminal.resize(50, 120);
    terminal.until_shows("50 120");
    let (status, text) = terminal.finish();
    assert!(status.success(), "{text}");
}

#[test]
fn what_is_typed_reaches_the_command_and_ctrl_c_interrupts_it() {
    let env = world!();
    env.stack("name = \"empty\"\n");
    let script =
        "trap 'echo interrupted; exit 4' INT; echo here; while read line; do echo \"got $line\"; done";
    let mut terminal = env.on_terminal(env.belljar(["run", "--", "sh", "-c", script]), 24, 80);
    terminal.until_shows("here");
    terminal.types("one\n");
    terminal.until_shows("got one");
    terminal.types("\u{3}");
    terminal.until_shows("interrupted");
    let (status, text) = terminal.finish();
    assert_eq!(status.code(), Some(4), "{text}");
}

#[test]
fn ctrl_d_ends_the_input() {
    let env = world!();
    env.stack("name = \"empty\"\n");
    let mut terminal =
        env.on_terminal(env.belljar(["run", "--", "sh", "-c", "echo here; cat; echo over"]), 24, 80);
    terminal.until_shows("here");
    terminal.types("\u{4}");
    terminal.until_shows("over");
    let (status, text) = terminal.finish();
    assert!(status.success(), "{text}");
}

#[test]
fn the_terminal_is_as_it_was_after_the_command_even_if_it_is_killed() {
    let env = world!();
    env.stack("name = \"empty\"\n");
    let script = "\"$0\" run -- sh -c 'stty raw -echo; echo here; kill -KILL $$'; stty -a | grep -q ' echo ' && echo sane";
    let shell = env.command("/bin/sh", ["-c", script, env.program().to_str().unwrap()]);
    let (status, text) = env.on_terminal(shell, 24, 80).finish();
    assert!(status.success() && text.contains("sane"), "{text}");
}

#[test]
fn a_terminal_that_goes_away_takes_the_session_with_it() {
    let env = world!();
    env.stack("name = \"empty\"\n");
    let running = env.belljar(["run", "--", "sh", "-c", "echo here; exec {fixture} stay"]).spawn();
    running.until_prints("here");
    running.signal(Signal::HUP);
    let output = running.finish();
    assert_ne!(output.code(), 0, "{output}");
    env.nothing_is_left_within(std::time::Duration::from_secs(1));
}
