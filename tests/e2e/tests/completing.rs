//! Completing the command line, in real shells.

use belljar_e2e::{SYSTEM_PATH, TestEnv, needs, world};

const STACK: &str = r#"
[service.api]
run = "{fixture} stay"
replicas = 2
[service.db]
run = "{fixture} stay"
[task.migrate]
run = "true"
"#;

/// The PATH of the world, with belljar's own directory.
fn path(env: &TestEnv) -> String {
    format!("{}:{SYSTEM_PATH}", env.root().join("bin").display())
}

/// What bash offers for the last word of the line, as its own function finds it.
#[track_caller]
fn offers(env: &TestEnv, line: &str) -> Vec<String> {
    let script = r#"
        source <(belljar completions bash)
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9
        "$(complete -p belljar | sed -E 's/.* -F ([^ ]+) .*/\1/')" belljar "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let words = std::iter::once("bash").chain(line.split(' '));
    let output =
        env.command("bash", ["-uc", script].into_iter().chain(words)).env("PATH", path(env)).run().ok();
    assert_eq!(output.stderr, "", "{output}");
    // Before anything of the word is there, options are offered beside the names.
    let is_meant = |word: &&str| !word.is_empty() && (!word.starts_with('-') || line.contains(" --f"));
    output.stdout.lines().filter(is_meant).map(str::to_owned).collect()
}

#[test]
fn bash_is_offered_verbs_and_options() {
    let env = world!();
    assert_eq!(offers(&env, "belljar che"), ["check"]);
    let verbs = offers(&env, "belljar ");
    assert!(verbs.contains(&"up".to_owned()) && verbs.contains(&"completions".to_owned()), "{verbs:?}");
    assert!(!verbs.contains(&"__host".to_owned()), "{verbs:?}");
    assert_eq!(offers(&env, "belljar graph --form"), ["--format"]);
    assert_eq!(offers(&env, "belljar graph --format d"), ["dot"]);
    assert_eq!(offers(&env, "belljar wait --for i"), ["idle"]);
}

#[test]
fn bash_is_offered_live_sessions_services_and_replicas() {
    let env = world!();
    // Before there is a session, the stack file says what there will be.
    env.stack(STACK);
    assert_eq!(offers(&env, "belljar kill api"), ["api", "api-1", "api-2"]);
    env.run("up --name first").ok();
    env.run("up --name second --new").ok();
    assert_eq!(offers(&env, "belljar ps -s f"), ["first"]);
    assert_eq!(offers(&env, "belljar down "), ["first", "second"]);
    // `-s` says whose replicas are meant, wherever it stands.
    assert_eq!(offers(&env, "belljar -s first kill "), ["api", "api-1", "api-2", "db", "db-1"]);
    assert_eq!(offers(&env, "belljar exec --session=second d"), ["db-1"]);
    assert_eq!(offers(&env, "belljar logs -s second m"), ["migrate"]);
    assert_eq!(offers(&env, "belljar url -s second a"), ["api", "api-1", "api-2"]);
    env.run("down second").ok();
    assert_eq!(offers(&env, "belljar down "), ["first"]);
    // What is over can still be read.
    assert_eq!(offers(&env, "belljar logs -s s"), ["second"]);
    // Asking changes nothing, and a state directory elsewhere is another world.
    let elsewhere = env.root().join("elsewhere");
    assert!(offers(&env, &format!("belljar --state-dir {} down ", elsewhere.display())).is_empty());
    assert!(!elsewhere.exists());
    env.run("ls").ok().prints(&["first", "ready"]);
}

#[test]
fn a_key_in_bash_completes_the_line() {
    let env = world!();
    env.stack(STACK);
    env.up();
    let shell =
        env.command("bash", ["--norc", "--noprofile", "-i"]).env("PATH", path(&env)).env("TERM", "dumb");
    let mut terminal = env.on_terminal(shell.env("PS1", "> "), 40, 120);
    terminal.until_shows("> ");
    terminal.types("source <(belljar completions bash); echo sourced-$?\n");
    terminal.until_shows("sourced-0");
    terminal.types("belljar wait db-\t --for rea\t --within 9s && echo ended-$?\n");
    terminal.until_shows("ended-0");
    // The line as bash has it in the end, without what was drawn on the way.
    terminal.types("echo \"[$(fc -ln -1)]\" | tr -s '\\t '\n");
    terminal.until_shows("belljar wait db-1 --for ready --within 9s");
    terminal.types("exit\n");
    terminal.finish();
}

#[test]
fn zsh_and_fish_ask_the_same() {
    let env = world!();
    needs!("zsh", "fish");
    env.stack(STACK);
    env.up();
    let fish = "belljar completions fish | source; complete -C 'belljar kill a'";
    let output = env.command("fish", ["--no-config", "-c", fish]).env("PATH", path(&env)).run().ok();
    let words: Vec<&str> = output.stdout.lines().filter_map(|line| line.split('\t').next()).collect();
    assert_eq!(words, ["api", "api-1", "api-2"], "{output}");
    // In zsh what was found goes to the line editor; in its place stands one that says it.
    let zsh = "compdef() { :; }; source <(belljar completions zsh); _describe() { print -l -- ${(P)3}; }; \
               words=(belljar kill a) CURRENT=3; _clap_dynamic_completer_belljar";
    let output = env.command("zsh", ["-f", "-c", zsh]).env("PATH", path(&env)).run().ok();
    assert!(output.stdout.contains("api-1:ready"), "{output}");
}
