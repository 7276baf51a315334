//! The command line itself: help, version, usage.

use belljar_e2e::world;

/// Every verb of the first form.
const VERBS: &[&str] = &[
    "up",
    "down",
    "ls",
    "ps",
    "logs",
    "events",
    "run",
    "exec",
    "url",
    "env",
    "kill",
    "term",
    "stop",
    "start",
    "restart",
    "pause",
    "resume",
    "wait",
    "eventually",
    "always",
    "check",
    "plan",
    "recipes",
    "doctor",
    "clean",
    "test",
];

#[test]
fn every_verb_has_help_with_an_example_that_names_it() {
    let env = world!();
    let all = env.run("--help").ok();
    for verb in VERBS {
        assert!(all.stdout.contains(verb), "{verb} in {all}");
        let help = env.run(&format!("{verb} --help")).ok();
        let (_, example) = help.stdout.split_once("Example").unwrap_or_else(|| panic!("no example: {help}"));
        assert!(example.contains(&format!("belljar {verb}")), "{help}");
        assert_eq!(help.stderr, "", "{help}");
    }
}

#[test]
fn the_version_is_one_line() {
    let env = world!();
    let output = env.run("--version").ok();
    assert_eq!(output.stdout.lines().count(), 1, "{output}");
    assert!(
        output.stdout.starts_with("belljar ") && output.stdout.contains(env!("CARGO_PKG_VERSION")),
        "{output}"
    );
}

#[test]
fn a_wrong_command_line_is_2_and_says_what_would_be_right() {
    let env = world!();
    env.run("").ends_with(2);
    env.run("upp").ends_with(2).complains(&["up"]);
    env.run("up --nmae x").ends_with(2).complains(&["--name"]);
    env.run("run").ends_with(2);
    env.run("test -j 0").ends_with(2);
    env.run("test -j NaN").ends_with(2);
    env.run("logs --tail many").ends_with(2);
}

#[test]
fn recipes_lists_what_there_is() {
    let env = world!();
    env.run("recipes").ok().prints(&["postgres", "nats"]);
    let document = env.run("recipes --json").json();
    assert!(document.to_string().contains("postgres"), "{document:#}");
}

#[test]
fn doctor_says_what_this_machine_can_do() {
    let env = world!();
    let output = env.run("doctor").ok();
    output.prints(&["sealed sessions\n", "  ok    user namespaces\n", "\nthe machine\n", "control groups"]);
    let document = env.run("doctor --json").json();
    let all = document["capabilities"].as_array().unwrap();
    for name in [
        "user namespaces",
        "/dev/net/tun",
        "nf_tables",
        "room for network namespaces",
        "reflinks in the state directory",
        "Docker",
        "ports for shared isolation",
    ] {
        let one =
            all.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("{name}: {document:#}"));
        assert!(one["works"] == true || one["why"].as_str().is_some_and(|why| !why.is_empty()), "{one:#}");
        assert!(!one["cost"].as_str().unwrap().is_empty(), "{one:#}");
    }
}

#[test]
fn colour_is_only_for_those_who_want_it() {
    let env = world!();
    env.stack("[service.web]\nrun = \"x\"\nreplica = 2\n");
    let plain = env.belljar(["check"]).env_remove("NO_COLOR").run().ends_with(3);
    assert!(!plain.stderr.contains('\u{1b}'), "a pipe gets no colour: {plain}");
    let forced = env.belljar(["check", "--color", "always"]).env_remove("NO_COLOR").run().ends_with(3);
    assert!(forced.stderr.contains('\u{1b}'), "{forced}");
}
