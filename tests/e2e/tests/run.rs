//! `belljar run`: a session around one command, which is all that is seen from outside.

use belljar_e2e::world;

const WEB: &str = r#"
    [service.web]
    run = "{fixture} http --port 8080 --name ${self.name}"
    ports = { http = 8080 }
"#;

const NOTHING: &str = "name = \"empty\"\n";

#[test]
fn the_exit_code_is_the_commands_own() {
    let env = world!();
    env.stack(NOTHING);
    for code in [0, 1, 7, 125, 255] {
        let output = env.run(&format!("run -- {{fixture}} exit {code}"));
        assert_eq!(output.code(), code, "{output}");
    }
    env.nothing_is_left_within(std::time::Duration::from_secs(1));
}

#[test]
fn a_command_that_a_signal_ends_is_told_as_a_shell_tells_it() {
    let env = world!();
    env.stack(NOTHING);
    let output = env.belljar(["run", "--", "sh", "-c", "kill -KILL $$"]).run();
    assert_eq!(output.code(), 137, "{output}");
}

#[test]
fn a_command_that_is_not_there_is_127_and_one_that_cannot_run_126() {
    let env = world!();
    env.stack(NOTHING);
    env.run("run -- no-such-command-anywhere").ends_with(127).complains(&["no-such-command-anywhere"]);
    env.run("run -- {dir}/nothing-here").ends_with(127).complains(&["nothing-here"]);
    let plain = env.write("plain.txt", "not a program\n");
    let output = env.belljar(["run", "--", plain.to_str().unwrap()]).run();
    output.ends_with(126).complains(&["plain.txt"]);
}

#[test]
fn belljars_own_failure_is_125_where_the_command_has_not_run() {
    let env = world!();
    env.stack("[service.web]\nrun = \"{fixture} exit 3 --say goodbye\"\nports = { http = 80 }\n");
    let output = env.run("run -- {fixture} exit 0").ends_with(125).complains(&["web-1", "goodbye"]);
    assert_eq!(output.stdout, "");
    env.stack("nonsense = true\n");
    env.run("run -- {fixture} exit 0").ends_with(125).complains(&["nonsense"]);
}

#[test]
fn stdout_and_stderr_are_the_commands_alone() {
    let env = world!();
    env.stack(WEB);
    let output = env.belljar(["run", "--", "sh", "-c", "echo out; echo err >&2"]).run();
    assert_eq!(output.stdout, "out\n", "{output}");
    assert!(output.stderr.contains("err\n"), "{output}");
    output.ok();
}

#[test]
fn stdin_reaches_the_command_whole() {
    let env = world!();
    env.stack(NOTHING);
    let lines: Vec<_> = (0..50_000).map(|number| format!("line {number}\n")).collect();
    let bytes = lines.concat();
    let output = env.belljar(["run", "--", "cat"]).stdin(bytes.clone()).run().ok();
    assert_eq!(output.stdout.len(), bytes.len());
    assert_eq!(output.stdout, bytes);
}

#[test]
fn a_command_sees_the_end_of_stdin() {
    let env = world!();
    env.stack(NOTHING);
    let mut running =
        env.belljar(["run", "--", "sh", "-c", "read line; echo got $line; cat"]).stdin_held().spawn();
    running.write(b"one\n");
    running.until_prints("got one");
    running.write(b"two\n");
    running.until_prints("two");
    running.close_stdin();
    running.finish().ok().prints_exactly("got one\ntwo\n");
}

#[test]
fn services_are_ready_before_the_command_runs() {
    let env = world!();
    env.stack(
        r#"
        [service.web]
        run = "{fixture} http --port 8080 --after 300 --name web"
        ports = { http = 8080 }
        "#,
    );
    env.run("run -- {fixture} get http://web:8080/").ok().prints_exactly("web\n");
}

#[test]
fn the_stack_is_found_upward_and_by_path() {
    let env = world!();
    env.stack(WEB);
    let below = env.dir().join("deep/er");
    fs_err::create_dir_all(&below).unwrap();
    let get = ["run", "--", "{fixture}", "get", "http://web:8080/"];
    env.belljar(get).cwd(&below).run().ok().prints_exactly("web-1\n");
    env.belljar(["run", "{dir}/belljar.toml", "--", "{fixture}", "get", "http://web:8080/"])
        .cwd(env.root())
        .run()
        .ok()
        .prints_exactly("web-1\n");
    env.belljar(["run", "-f", "{dir}/belljar.toml", "--", "{fixture}", "get", "http://web:8080/"])
        .cwd(env.root())
        .run()
        .ok()
        .prints_exactly("web-1\n");
    let lost = env.belljar(["run", "--", "true"]).cwd(env.root()).run();
    lost.ends_with(125).complains(&["belljar.toml"]);
}

#[test]
fn the_command_runs_in_the_callers_directory() {
    let env = world!();
    env.stack(NOTHING);
    let below = env.dir().join("sub");
    fs_err::create_dir(&below).unwrap();
    let output = env.belljar(["run", "--", "pwd"]).cwd(&below).run().ok();
    assert_eq!(output.stdout.trim(), below.to_str().unwrap());
}

#[test]
fn the_command_has_the_callers_environment_without_proxies() {
    let env = world!();
    env.stack(WEB);
    let output = env
        .belljar(["run", "--", "{fixture}", "print-env"])
        .env("MINE", "kept as it is")
        .env("http_proxy", "http://proxy.invalid:3128")
        .env("HTTPS_PROXY", "http://proxy.invalid:3128")
        .env("all_proxy", "socks5://proxy.invalid")
        .run()
        .ok();
    let lines: Vec<_> = output.stdout.lines().collect();
    assert!(lines.contains(&"MINE=kept as it is"), "{output}");
    assert!(!output.stdout.to_lowercase().contains("proxy.invalid"), "{output}");
    for line in ["WEB_PORT=8080", "WEB_REPLICAS=web-1"] {
        assert!(lines.contains(&line), "{line} in {output}");
    }
    for name in ["WEB_HOST=", "BELLJAR_SESSION=", "BELLJAR_CONTROL="] {
        assert!(
            lines.iter().any(|line| line.starts_with(name) && line.len() > name.len()),
            "{name} in {output}"
        );
    }
}

#[test]
fn replicas_get_what_the_stack_gives_them_and_nothing_else() {
    let env = world!();
    env.stack(
        r#"
        inherit_env = ["NAMED"]

        [service.web]
        run = "{fixture} http --port 8080"
        ports = { http = 8080 }
        env = { GIVEN = "by ${self.name}", FROM_HOST = "${env.WRITTEN_DOWN}", DOLLAR = "$${literal}" }
        "#,
    );
    let output = env
        .belljar(["run", "--", "{fixture}", "get", "http://web:8080/env"])
        .env("NAMED", "inherited")
        .env("WRITTEN_DOWN", "fetched")
        .env("SECRET", "not for replicas")
        .run()
        .ok();
    let env_of_replica = output.document();
    assert_eq!(env_of_replica["GIVEN"], "by web-1");
    assert_eq!(env_of_replica["NAMED"], "inherited");
    assert_eq!(env_of_replica["FROM_HOST"], "fetched");
    assert_eq!(env_of_replica["DOLLAR"], "${literal}");
    assert!(env_of_replica.get("SECRET").is_none(), "{env_of_replica:#}");
    for name in ["PATH", "HOME", "USER", "LANG", "TMPDIR"] {
        assert!(env_of_replica[name].is_string(), "{name} in {env_of_replica:#}");
    }
}

#[test]
fn belljar_is_on_the_path_of_the_command_and_speaks_to_its_session() {
    let env = world!();
    env.stack(WEB);
    let output = env.belljar(["run", "--", "sh", "-c", "belljar ps --json"]).run().ok();
    let session = output.document();
    assert_eq!(session["services"]["web"]["replicas"][0]["state"], "ready", "{session:#}");
}

#[test]
fn what_the_command_leaves_behind_ends_with_it() {
    let env = world!();
    env.stack(NOTHING);
    let output = env.belljar(["run", "--", "sh", "-c", "setsid {fixture} stay --tag orphan & exit 3"]).run();
    output.ends_with(3);
    env.nothing_is_left_within(std::time::Duration::from_secs(1));
}

#[test]
fn many_sessions_of_one_stack_run_side_by_side_on_the_same_ports() {
    let env = world!();
    env.stack(WEB);
    let running: Vec<_> = (0..6)
        .map(|_| {
            env.belljar(["run", "--", "sh", "-c", "{fixture} get http://web:8080/ && cat"])
                .stdin_held()
                .spawn()
        })
        .collect();
    for one in &running {
        one.until_prints("web-1");
    }
    // All six live at this moment.
    assert_eq!(env.processes("http --port 8080").len(), 6);
    for one in running {
        one.finish().ok().prints_exactly("web-1\n");
    }
    env.nothing_is_left_within(std::time::Duration::from_secs(2));
}
