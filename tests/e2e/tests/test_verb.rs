//! `belljar test`: each scenario in a session of its own, and an honest verdict.

use std::time::Duration;

use belljar_e2e::{Output, TestEnv, eventually, soon, world};
use serde_json::{Value, json};

const STACK: &str = r#"
    [service.web]
    run = "{fixture} http --port 80 --name ${self.name}"
    ports = { http = 80 }

    [suite.s]
    scenarios = "scenarios/*"
    timeout = "20s"
"#;

/// The summary document: the last line of `--json`.
#[track_caller]
fn summary(output: &Output) -> Value {
    let lines = output.json_lines();
    let last = lines.last().unwrap_or_else(|| panic!("no summary: {output}")).clone();
    assert_eq!(last["kind"], "run.ended", "{output}");
    last
}

/// Name and outcome of each scenario, in the order of the report.
fn outcomes(summary: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let scenarios = summary["scenarios"].as_array().cloned().unwrap_or_default();
    scenarios.iter().map(|one| (text(&one["name"]), text(&one["outcome"]))).collect()
}

fn scenario(env: &TestEnv, name: &str, body: &str) {
    env.script(&format!("scenarios/{name}"), &format!("#!/bin/sh\n{body}\n"));
}

#[test]
fn all_green_is_0_with_the_summary_line() {
    let env = world!();
    env.stack(STACK);
    scenario(&env, "one", "{fixture} get http://web/");
    scenario(&env, "two", "exit 0");
    let output = env.run("test").ok();
    let text = format!("{}{}", output.stdout, output.stderr);
    let line = text.lines().find(|line| line.starts_with("belljar: ")).unwrap_or_else(|| panic!("{output}"));
    let expected = "belljar: 2 passed, 0 failed, 0 timed-out, 0 flaky, 0 leaked, 0 setup-failed, 0 cancelled, 0 skipped in ";
    assert!(line.starts_with(expected) && line.ends_with(" at once)"), "{line}");
    env.nothing_is_left_within(Duration::from_secs(1));
}

#[test]
fn every_outcome_is_told_apart() {
    let env = world!();
    env.stack(
        r#"
        [service.web]
        run = "{fixture} http --port 80"
        ports = { http = 80 }

        [suite.s]
        scenarios = "scenarios/*"
        timeout = "1s"

        [suite.needy]
        scenarios = "needy/*"
        requires = { env = ["NOT_SET_ANYWHERE"] }
        "#,
    );
    scenario(&env, "a-pass", "exit 0");
    scenario(&env, "b-fail", "echo why-it-failed; exit 3");
    scenario(&env, "c-hang", "exec {fixture} ignore-term");
    env.script("needy/d-skip", "#!/bin/sh\nexit 0\n");
    let output = env.run("test --json").ends_with(10);
    let summary = summary(&output);
    let expected =
        [("a-pass", "passed"), ("b-fail", "failed"), ("c-hang", "timed-out"), ("d-skip", "skipped")];
    assert_eq!(outcomes(&summary), expected.map(|(name, outcome)| (name.to_owned(), outcome.to_owned())));
    for (field, count) in [
        ("passed", 1),
        ("failed", 1),
        ("timed_out", 1),
        ("flaky", 0),
        ("leaked", 0),
        ("setup_failed", 0),
        ("cancelled", 0),
        ("skipped", 1),
    ] {
        assert_eq!(summary[field], count, "{field} in {summary:#}");
    }
    assert!(summary["duration_ms"].as_u64().is_some_and(|ms| ms >= 1000), "{summary:#}");
    assert_eq!(summary["scenarios"][0]["suite"], "s");
    assert_eq!(summary["scenarios"][1]["attempts"][0]["outcome"], "failed");
    assert!(output.stdout.contains("NOT_SET_ANYWHERE"), "a skip says why: {output}");
    let plain = env.run("test").ends_with(10);
    let text = format!("{}{}", plain.stdout, plain.stderr);
    for word in ["why-it-failed", "b-fail", "c-hang", "NOT_SET_ANYWHERE"] {
        assert!(text.contains(word), "{word} in {plain}");
    }
    env.nothing_is_left_within(Duration::from_secs(1));
}

#[test]
fn a_session_that_never_comes_up_is_setup_failed_and_12() {
    let env = world!();
    env.stack(
        "[service.web]\nrun = \"{fixture} exit 3 --say cannot-start\"\nports = { http = 80 }\n[suite.s]\nscenarios = \"scenarios/*\"\n",
    );
    scenario(&env, "one", "echo x > {dir}/it-ran");
    let output = env.run("test --json").ends_with(12);
    let summary = summary(&output);
    assert_eq!(summary["setup_failed"], 1);
    assert_eq!(summary["failed"], 0);
    assert!(!env.dir().join("it-ran").exists(), "the scenario did not run");
    let plain = env.run("test").ends_with(12);
    assert!(format!("{}{}", plain.stdout, plain.stderr).contains("cannot-start"), "{plain}");
    env.nothing_is_left_within(Duration::from_secs(1));
}

#[test]
fn nothing_selected_is_13() {
    let env = world!();
    env.stack(STACK);
    scenario(&env, "one", "exit 0");
    env.run("test --filter s::nothing-like-it").ends_with(13);
    env.run("test --tag no-such-tag").ends_with(13);
    env.run("test nowhere --json").json_error(belljar_model::ErrorCode::SuiteNotFound);
}

#[test]
fn no_more_than_asked_for_run_at_once() {
    let env = world!();
    env.stack(STACK);
    for number in 0..6 {
        scenario(&env, &format!("n{number}"), "echo + >> {dir}/count; sleep 0.3; echo - >> {dir}/count");
    }
    let peak = |jobs: u64| {
        let output = env.run(&format!("test -j {jobs} --json")).ok();
        let told = summary(&output)["peak_in_flight"].as_u64().unwrap();
        let marks = fs_err::read_to_string(env.dir().join("count")).unwrap();
        fs_err::remove_file(env.dir().join("count")).unwrap();
        let mut now = 0;
        let mut seen = 0;
        for mark in marks.lines() {
            now = if mark == "+" { now + 1 } else { now - 1 };
            seen = seen.max(now);
        }
        assert!(seen <= jobs && told <= jobs, "{seen} ran and {told} were told of {jobs}");
        assert!(seen <= told, "{seen} ran and {told} were told");
        told
    };
    assert_eq!(peak(1), 1);
    assert_eq!(peak(2), 2);
    assert_eq!(peak(3), 3);
}

#[test]
fn results_stand_in_the_order_of_the_suite() {
    let env = world!();
    env.stack(STACK);
    let names = ["a", "b", "c", "d", "e"];
    for (index, name) in names.iter().enumerate() {
        // The first ends last.
        scenario(&env, name, &format!("sleep 0.{}", (names.len() - index) * 15));
    }
    let output = env.run("test -j 5 --json").ok();
    let listed: Vec<_> = outcomes(&summary(&output)).into_iter().map(|(name, _)| name).collect();
    assert_eq!(listed, names);
}

#[test]
fn scenarios_are_chosen_by_suite_tag_and_filter() {
    let env = world!();
    env.stack(
        r#"
        [service.web]
        run = "{fixture} http --port 80"
        ports = { http = 80 }

        [suite.first]
        scenarios = "first/*"
        tags = ["quick"]

        [suite.second]
        scenarios = "second/*"
        tags = ["slow", "e2e"]
        "#,
    );
    for path in ["first/alpha", "first/beta", "second/alpha", "second/gamma"] {
        env.script(path, "#!/bin/sh\nexit 0\n");
    }
    // What cannot be executed is no scenario.
    env.write("first/README", "not one\n");
    let chosen = |words: &str| -> Vec<String> {
        let summary = summary(&env.run(&format!("test {words} --json")).ok());
        let scenarios = summary["scenarios"].as_array().unwrap().clone();
        scenarios
            .iter()
            .map(|one| format!("{}::{}", one["suite"].as_str().unwrap(), one["name"].as_str().unwrap()))
            .collect()
    };
    assert_eq!(chosen(""), ["first::alpha", "first::beta", "second::alpha", "second::gamma"]);
    assert_eq!(chosen("second"), ["second::alpha", "second::gamma"]);
    assert_eq!(chosen("first/beta"), ["first::beta"]);
    assert_eq!(chosen("--tag slow"), ["second::alpha", "second::gamma"]);
    assert_eq!(chosen("--filter *::alpha"), ["first::alpha", "second::alpha"]);
    assert_eq!(chosen("--filter first::*|*::gamma"), ["first::alpha", "first::beta", "second::gamma"]);
    assert_eq!(chosen("--filter !*::alpha"), ["first::beta", "second::gamma"]);
    let listed = env.run("test --list").ok();
    for name in ["first::alpha", "second::gamma"] {
        assert!(listed.stdout.contains(name), "{listed}");
    }
}

#[test]
fn a_scenario_sees_what_it_was_promised() {
    let env = world!();
    env.stack(&STACK.replace("timeout", "env = { MINE = \"of the suite\" }\n    timeout"));
    scenario(
        &env,
        "look",
        "env > \"$BELLJAR_ARTIFACTS/env\"; pwd > \"$BELLJAR_ARTIFACTS/pwd\"; ls -A /tmp > \"$BELLJAR_ARTIFACTS/tmp\"\n\
         {fixture} get http://web/ > \"$BELLJAR_ARTIFACTS/web\"; belljar ps --json > \"$BELLJAR_ARTIFACTS/ps\"",
    );
    let output = env
        .belljar(["test", "--keep", "always", "--json"])
        .env("http_proxy", "http://proxy.invalid")
        .env("FROM_OUTSIDE", "yes")
        .run()
        .ok();
    let summary = summary(&output);
    let [file] = &env.files_named("env")[..] else { panic!("one artifact: {:?}", env.files_named("env")) };
    let text = fs_err::read_to_string(file).unwrap();
    let value =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(&format!("{name}="))).map(str::to_owned);
    for name in [
        "BELLJAR_SESSION",
        "BELLJAR_CONTROL",
        "BELLJAR_RUN",
        "BELLJAR_ATTEMPT",
        "BELLJAR_SEED",
        "BELLJAR_ARTIFACTS",
        "WEB_HOST",
    ] {
        assert!(value(name).is_some_and(|text| !text.is_empty()), "{name} in {text}");
    }
    assert!(value("BELLJAR_SCENARIO").unwrap().contains("look"));
    assert_eq!(value("WEB_PORT").as_deref(), Some("80"));
    assert_eq!(value("WEB_REPLICAS").as_deref(), Some("web-1"));
    assert_eq!(value("MINE").as_deref(), Some("of the suite"));
    assert_eq!(value("FROM_OUTSIDE").as_deref(), Some("yes"));
    assert_eq!(value("http_proxy"), None);
    let beside = |name: &str| fs_err::read_to_string(file.with_file_name(name)).unwrap();
    assert_eq!(beside("pwd").trim(), env.dir().to_str().unwrap());
    assert_eq!(beside("tmp"), "");
    assert_eq!(beside("web"), "web-1\n");
    let session: Value = serde_json::from_str(&beside("ps")).unwrap();
    assert_eq!(session["id"], value("BELLJAR_SESSION").unwrap().as_str());
    assert_eq!(summary["passed"], 1);
}

#[test]
fn a_failure_keeps_artifacts_and_logs_and_says_where() {
    let env = world!();
    env.stack(STACK);
    scenario(&env, "fails", "echo said-by-the-scenario; echo kept > \"$BELLJAR_ARTIFACTS/note\"; exit 1");
    scenario(&env, "passes", "echo gone > \"$BELLJAR_ARTIFACTS/gone\"; exit 0");
    let output = env.run("test").ends_with(10);
    let [note] = &env.files_named("note")[..] else { panic!("the artifact is kept: {output}") };
    assert_eq!(fs_err::read_to_string(note).unwrap(), "kept\n");
    assert!(env.files_named("gone").is_empty(), "what passed is not kept");
    let text = format!("{}{}", output.stdout, output.stderr);
    // The printed place leads to the artifacts and to the replicas' logs.
    let state = env.state_dir().to_string_lossy().into_owned();
    let place = text
        .split_whitespace()
        .map(|word| word.trim_matches(|c: char| "`'\"(),:".contains(c)))
        .find(|word| word.starts_with(&state) && note.starts_with(word))
        .unwrap_or_else(|| panic!("the place of {} is printed: {output}", note.display()));
    let mut files = String::new();
    collect(std::path::Path::new(place), &mut files);
    assert!(files.contains("listening on"), "the replica's log is there");
    assert!(files.contains("said-by-the-scenario"), "and the scenario's own output");
}

fn collect(dir: &std::path::Path, into: &mut String) {
    for entry in fs_err::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            collect(&entry.path(), into);
        } else {
            into.push_str(&String::from_utf8_lossy(&fs_err::read(entry.path()).unwrap_or_default()));
        }
    }
}

#[test]
fn keep_is_obeyed() {
    let env = world!();
    env.stack(STACK);
    scenario(&env, "fails", "echo x > \"$BELLJAR_ARTIFACTS/of-failed\"; exit 1");
    scenario(&env, "passes", "echo x > \"$BELLJAR_ARTIFACTS/of-passed\"");
    env.run("test --keep never").ends_with(10);
    assert!(env.files_named("of-failed").is_empty() && env.files_named("of-passed").is_empty());
    env.run("test --keep always").ends_with(10);
    assert!(!env.files_named("of-failed").is_empty() && !env.files_named("of-passed").is_empty());
}

#[test]
fn setup_runs_once_per_session_and_its_exports_reach_the_scenario() {
    let env = world!();
    env.stack(&STACK.replace("timeout", "setup = \"{dir}/setup\"\n    timeout"));
    env.script("setup", "#!/bin/sh\necho x >> {dir}/setups\necho \"KEY=$({fixture} get http://web/)-key\" >> \"$BELLJAR_EXPORTS\"\n");
    scenario(&env, "one", "test \"$KEY\" = web-1-key");
    scenario(&env, "two", "test \"$KEY\" = web-1-key");
    env.run("test").ok();
    assert_eq!(fs_err::read_to_string(env.dir().join("setups")).unwrap().lines().count(), 2);
    env.script("setup", "#!/bin/sh\necho setup-broke\nexit 1\n");
    let output = env.run("test --json").ends_with(12);
    assert_eq!(summary(&output)["setup_failed"], 2);
}

#[test]
fn requirements_that_are_not_met_skip_with_the_reason() {
    let env = world!();
    env.stack(
        r#"
        [suite.with]
        scenarios = "scenarios/*"
        requires = { commands = ["sh"], env = ["HOME"] }

        [suite.without]
        scenarios = "scenarios/*"
        requires = { commands = ["no-such-command-anywhere"] }
        "#,
    );
    scenario(&env, "one", "exit 0");
    let output = env.run("test --json").ok();
    let summary = summary(&output);
    assert_eq!((&summary["passed"], &summary["skipped"]), (&json!(1), &json!(1)), "{summary:#}");
    assert!(output.stdout.contains("no-such-command-anywhere"), "{output}");
}

#[test]
fn each_scenario_has_a_session_of_its_own() {
    let env = world!();
    env.stack(STACK);
    for name in ["one", "two", "three"] {
        scenario(
            &env,
            name,
            "test ! -e /tmp/mark && echo x > /tmp/mark && belljar kill web-1 && ! {fixture} connect web 80",
        );
    }
    let output = env.run("test -j 3 --json").ok();
    assert_eq!(summary(&output)["passed"], 3);
}

#[test]
fn faults_and_waits_work_from_inside_a_scenario() {
    let env = world!();
    env.stack(&STACK.replace("ports =", "replicas = 3\n    ports ="));
    scenario(
        &env,
        "whole",
        "set -eu\n\
         belljar kill web-2\n\
         ! {fixture} get http://web-2/\n\
         belljar start web-2\n\
         belljar eventually --within 5s -- {fixture} get http://web-2/\n\
         belljar pause web-3\n\
         belljar resume web-3\n\
         belljar always --for 200ms -- {fixture} get http://web-3/\n\
         belljar wait --for idle --within 5s\n\
         belljar exec web-1 -- hostname",
    );
    env.run("test").ok();
}

#[test]
fn retries_make_a_flake_visible() {
    let env = world!();
    env.stack(STACK);
    scenario(&env, "second-time", "test -e {dir}/tried || { touch {dir}/tried; exit 1; }");
    let output = env.run("test --retries 2 --json").ends_with(11);
    let summary = summary(&output);
    assert_eq!(summary["flaky"], 1, "{summary:#}");
    let attempts: Vec<_> = summary["scenarios"][0]["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["outcome"].clone())
        .collect();
    assert_eq!(attempts, ["failed", "passed"]);
}

#[test]
fn a_timeout_ends_everything_of_the_attempt() {
    let env = world!();
    env.stack(STACK);
    scenario(&env, "hangs", "setsid {fixture} ignore-term & exec {fixture} ignore-term");
    let output = env.run("test --timeout 500ms --json").ends_with(10);
    assert_eq!(summary(&output)["timed_out"], 1);
    assert!(output.took < Duration::from_secs(15), "{output}");
    env.nothing_is_left_within(Duration::from_secs(1));
}

#[test]
fn ctrl_c_cancels_the_run_in_order() {
    let env = world!();
    env.stack(STACK);
    for name in ["a", "b", "c"] {
        scenario(&env, name, "echo x > {dir}/started-$(basename $0); exec {fixture} stay");
    }
    let running = env.belljar(["test", "-j", "2", "--json"]).spawn();
    eventually("two run", belljar_e2e::LONG, || {
        (env.dir().join("started-a").exists() && env.dir().join("started-b").exists()).then_some(())
    });
    running.signal(rustix::process::Signal::INT);
    let output = running.finish();
    assert_eq!(output.code(), 130, "{output}");
    let summary = summary(&output);
    assert_eq!(summary["cancelled"], 3, "{summary:#}");
    assert!(!env.dir().join("started-c").exists());
    assert!(soon(Duration::from_secs(1), || env.footprint().is_empty()), "{}", env.footprint());
}

#[test]
fn json_is_an_event_a_line_and_runs_are_recorded() {
    let env = world!();
    env.stack(STACK);
    scenario(&env, "one", "exit 0");
    let output = env.run("test --json").ok();
    let lines = output.json_lines();
    let kinds: Vec<_> = lines.iter().filter_map(|line| line["kind"].as_str()).collect();
    for kind in
        ["run.started", "scenario.started", "attempt.started", "attempt.ended", "scenario.ended", "run.ended"]
    {
        assert!(kinds.contains(&kind), "{kind} in {kinds:?}");
    }
    let seqs: Vec<_> = lines.iter().filter_map(|line| line["seq"].as_u64()).collect();
    assert!(seqs.iter().zip(1..).all(|(&seq, expected)| seq == expected), "{seqs:?}");
    assert_eq!(output.stderr, "", "{output}");
}

#[test]
fn the_summary_is_as_documented() {
    let env = world!();
    env.stack(STACK);
    scenario(&env, "one", "exit 0");
    let output = env.run("test").ok();
    let text = format!("{}{}", output.stdout, output.stderr);
    let pattern = r"(?m)^belljar: 1 passed, 0 failed, 0 timed-out, 0 flaky, 0 leaked, 0 setup-failed, 0 cancelled, 0 skipped in \d+(\.\d+)?(ms|s) \(peak 1 at once\)$";
    assert!(regex::Regex::new(pattern).unwrap().is_match(&text), "{output}");
}

#[test]
fn an_exclusive_suite_has_the_machine_for_itself() {
    let env = world!();
    env.stack(&format!("{STACK}\n    [suite.alone]\n    scenarios = \"alone/*\"\n    exclusive = true\n"));
    for name in ["a", "b", "c"] {
        scenario(&env, name, "echo + >> {dir}/count; sleep 0.2; echo - >> {dir}/count");
    }
    env.script("alone/x", "#!/bin/sh\necho alone+ >> {dir}/count; sleep 0.2; echo alone- >> {dir}/count\n");
    env.run("test -j 4").ok();
    let marks = fs_err::read_to_string(env.dir().join("count")).unwrap();
    let marks: Vec<_> = marks.lines().collect();
    let at = marks.iter().position(|one| *one == "alone+").unwrap();
    assert_eq!(marks[at + 1], "alone-", "{marks:?}");
    let before: i32 = marks[..at].iter().map(|one| if *one == "+" { 1 } else { -1 }).sum();
    assert_eq!(before, 0, "{marks:?}");
}
