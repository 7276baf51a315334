//! The harness itself: what it would not notice, no test here would.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use belljar_e2e::{LONG, TestEnv, eventually};

#[test]
fn a_process_that_is_left_fails_the_test_and_is_ended() {
    let env = TestEnv::new();
    let fixture = env.fixture();
    let command = env.command("/bin/sh", ["-c", "setsid {fixture} stay --tag left >/dev/null 2>&1 &"]).run();
    command.ok();
    let left = eventually("it runs", LONG, || env.processes("--tag left").pop());
    let outcome = catch_unwind(AssertUnwindSafe(|| env.nothing_is_left_within(Duration::from_millis(50))));
    assert!(outcome.is_err(), "it was not noticed");
    let outcome = catch_unwind(AssertUnwindSafe(|| drop(env)));
    let message = *outcome.expect_err("the end of the world notices it too").downcast::<String>().unwrap();
    assert!(
        message.contains("left on the machine") && message.contains(fixture.to_str().unwrap()),
        "{message}"
    );
    let is_gone = || !belljar_e2e::processes().iter().any(|one| one.pid == left.pid);
    assert!(belljar_e2e::soon(LONG, is_gone), "it was not ended");
}

#[test]
fn a_child_of_what_is_ours_is_ours_whatever_it_calls_itself() {
    let env = TestEnv::new();
    let script = "env -i setsid /bin/sh -c 'cd /; echo here; sleep 300' & exec {fixture} stay --tag parent";
    let running = env.command("/bin/sh", ["-c", script]).spawn();
    running.until_prints("here");
    eventually("the child is found by its parent", LONG, || {
        env.footprint().processes.iter().any(|one| one.command.contains("sleep 300")).then_some(())
    });
    for process in env.footprint().processes {
        process.kill();
    }
    assert_eq!(running.finish().code(), 137);
    env.nothing_is_left_within(LONG);
}

#[test]
fn an_output_that_somebody_still_holds_is_noticed() {
    let env = TestEnv::new();
    let running = env.command("/bin/sh", ["-c", "{fixture} stay --tag holder & exit 0"]).spawn();
    let outcome = catch_unwind(AssertUnwindSafe(|| running.finish().ok()));
    let message = *outcome.expect_err("it was not noticed").downcast::<String>().unwrap();
    assert!(message.contains("still holds its stdout"), "{message}");
    env.process("--tag holder").kill();
    env.nothing_is_left_within(LONG);
}

#[test]
fn codes_signals_and_streams_are_told_apart() {
    let env = TestEnv::new();
    let output = env.command("/bin/sh", ["-c", "echo out; echo err >&2; exit 7"]).run().ends_with(7);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
    assert_eq!(env.command("/bin/sh", ["-c", "kill -TERM $$"]).run().code(), 143);
    let wrong = catch_unwind(AssertUnwindSafe(|| env.command("/bin/sh", ["-c", "exit 1"]).run().ok()));
    assert!(wrong.is_err());
}

#[test]
fn nothing_comes_from_the_tests_own_environment() {
    let env = TestEnv::new();
    let output = env.command("/usr/bin/env", []).run().ok();
    let names: Vec<_> = output.stdout.lines().filter_map(|line| line.split('=').next()).collect();
    assert_eq!(
        names,
        ["BELLJAR_STATE_DIR", "HOME", "LANG", "NO_COLOR", "PATH", "USER", "XDG_RUNTIME_DIR"],
        "{output}"
    );
}

#[test]
fn a_terminal_is_one() {
    let env = TestEnv::new();
    let command = env.command(env.fixture().to_str().unwrap(), ["tty"]);
    let (status, text) = env.on_terminal(command, 30, 90).finish();
    assert!(
        status.success() && text.contains("\"rows\":30") && text.contains("\"controlling\":true"),
        "{text}"
    );
}

#[test]
fn what_differs_from_run_to_run_is_redacted() {
    let env = TestEnv::new();
    let script = "echo k3f9-x2a1 in {dir} took 12.5ms at 2026-11-20T13:44:05.123Z on 127.0.0.1:40113";
    let output = env.command("/bin/sh", ["-c", script]).run().ok();
    insta::assert_snapshot!(output.shown(), @r"
    exit: 0
    --- stdout
    ID in [DIR] took TIME at MOMENT on 127.0.0.1:PORT
    --- stderr
    ");
}
