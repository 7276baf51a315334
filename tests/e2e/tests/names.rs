//! Which session is meant, and whose a name is.

use std::time::Duration;

use belljar_e2e::world;
use belljar_model::ErrorCode;

const WEB: &str =
    "[service.web]\nrun = \"{fixture} http --port 80 --name ${session.name}\"\nports = { http = 80 }\n";

#[test]
fn of_two_ups_with_one_name_one_wins_and_the_other_names_the_holder() {
    let env = world!();
    env.stack(WEB);
    let racers: Vec<_> = (0..4).map(|_| env.belljar(["up", "--name", "x", "--json"]).spawn()).collect();
    let (won, lost): (Vec<_>, Vec<_>) =
        racers.into_iter().map(belljar_e2e::Running::finish).partition(|output| output.code() == 0);
    let [winner] = &won[..] else { panic!("one wins: {won:#?}") };
    let id = winner.document()["id"].as_str().unwrap().to_owned();
    for output in lost {
        let message = output.json_error(ErrorCode::SessionNameTaken);
        assert!(message.contains('x') && message.contains(&id), "it names the holder {id}: {message}");
    }
    let listed = env.run("ls --json").json();
    assert_eq!(listed["sessions"].as_array().map(Vec::len), Some(1), "{listed:#}");
}

#[test]
fn a_taken_name_is_a_conflict() {
    let env = world!();
    env.stack(WEB);
    env.run("up --name mine").ok();
    let elsewhere = env.root().join("elsewhere");
    fs_err::create_dir(&elsewhere).unwrap();
    fs_err::copy(env.dir().join("belljar.toml"), elsewhere.join("belljar.toml")).unwrap();
    let output = env.belljar(["up", "--name", "mine"]).cwd(&elsewhere).run().ends_with(7);
    output.complains(&["mine"]);
    // A name nobody asked for by hand gives way instead.
    let other = env.belljar(["up", "--json"]).cwd(&elsewhere).run().json();
    assert_eq!(other["name"], "elsewhere");
    env.run("down --all").ok();
}

#[test]
fn several_sessions_of_a_directory_are_ambiguous_and_are_listed() {
    let env = world!();
    env.stack(WEB);
    env.run("up --name one").ok();
    env.run("ps").ok();
    env.run("up --name two").ok();
    let output = env.run("ps").ends_with(2).complains(&["one", "two", "-s"]);
    assert_eq!(output.stdout, "");
    let message = env.run("kill web-1 --json").json_error(ErrorCode::SessionAmbiguous);
    assert!(!message.is_empty());
    env.run("ps -s one").ok();
    env.belljar(["ps"]).env("BELLJAR_SESSION", "two").run().ok();
    env.run("down --all").ok();
}

#[test]
fn a_session_is_found_by_id_and_by_name_and_by_variable() {
    let env = world!();
    env.stack(WEB);
    let id = env.run("up --name one --json").json()["id"].as_str().unwrap().to_owned();
    env.run("up --name two").ok();
    let far = env.root().to_owned();
    for selector in ["one", &id] {
        let session = env.belljar(["ps", "--json", "-s", selector]).cwd(&far).run().json();
        assert_eq!(session["id"], id.as_str());
        let session = env.belljar(["ps", "--json"]).env("BELLJAR_SESSION", selector).cwd(&far).run().json();
        assert_eq!(session["id"], id.as_str());
    }
    // What is given by hand goes before the variable.
    let session = env.belljar(["ps", "--json", "--session", "two"]).env("BELLJAR_SESSION", &id).run().json();
    assert_eq!(session["name"], "two");
    env.run("down --all").ok();
}

#[test]
fn another_directorys_session_is_not_meant() {
    let env = world!();
    env.stack(WEB);
    env.up();
    let elsewhere = env.root().join("elsewhere");
    fs_err::create_dir(&elsewhere).unwrap();
    env.belljar(["ps", "--json"]).cwd(&elsewhere).run().json_error(ErrorCode::SessionNotFound);
}

#[test]
fn a_directory_below_the_stack_finds_its_session() {
    let env = world!();
    env.stack(WEB);
    env.up();
    let below = env.dir().join("a/b");
    fs_err::create_dir_all(&below).unwrap();
    env.belljar(["ps", "--json"]).cwd(&below).run().json();
}

#[test]
fn what_is_no_name_is_refused_with_the_rule() {
    let env = world!();
    env.stack(WEB);
    for name in ["Upper", "under_score", "-dash", "a b", "abcd-efg1", ""] {
        let output = env.belljar(["up", &format!("--name={name}")]).run();
        assert_eq!(output.code(), 2, "`{name}`: {output}");
        assert!(output.stderr.contains("1 to 40"), "the rule: {output}");
    }
    env.run("ps -s No!").ends_with(2);
    env.nothing_is_left_within(Duration::from_secs(1));
}

#[test]
fn an_unknown_session_is_not_found() {
    let env = world!();
    env.stack(WEB);
    for words in ["ps", "down", "logs", "events", "env", "kill web-1", "wait --for ready"] {
        env.run(&format!("{words} --json -s nobody").replace("down --json -s nobody", "down nobody --json"))
            .json_error(ErrorCode::SessionNotFound);
    }
}
