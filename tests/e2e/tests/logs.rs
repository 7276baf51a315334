//! A log per replica, from the first byte, and no line lost.

use belljar_e2e::{LONG, eventually, world};

#[test]
fn a_log_starts_with_the_first_byte_and_names_its_replica() {
    let env = world!();
    env.stack(
        r#"
        [service.talk]
        run = "{fixture} log-lines --count 3"
        replicas = 2
        ready = { log = "line 3" }

        [task.seed]
        run = "{fixture} exit 0 --say seeded"
        "#,
    );
    env.up();
    env.run("logs talk-1").ok().prints(&["line 1", "line 2", "line 3"]);
    let all = env.run("logs").ok().prints(&["talk-1", "talk-2", "seeded"]);
    assert_eq!(all.stdout.matches("line 1").count(), 2, "{all}");
    env.run("logs seed").ok().prints(&["seeded"]);
    env.run("logs nobody").ends_with(6).complains(&["nobody"]);
}

#[test]
fn tail_and_timestamps() {
    let env = world!();
    env.stack("[service.talk]\nrun = \"{fixture} log-lines --count 20\"\nready = { log = \"line 20\" }\n");
    env.up();
    let tail = env.run("logs talk-1 --tail 2").ok();
    let lines: Vec<_> = tail.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{tail}");
    assert!(lines[0].ends_with("line 19") && lines[1].ends_with("line 20"), "{tail}");
    env.run("logs talk-1 --tail 0").ok().prints_exactly("");
    let plain = env.run("logs talk-1 --tail 1").ok().stdout;
    let stamped = env.run("logs talk-1 --tail 1 --timestamps").ok().stdout;
    assert!(stamped.len() > plain.len() && stamped.trim_end().ends_with("line 20"), "{stamped}");
    assert!(stamped.chars().any(|c| c.is_ascii_digit()));
    env.run("logs talk-1 --since 1h").ok().prints(&["line 1", "line 20"]);
}

#[test]
fn json_is_a_document_a_line_with_the_stream() {
    let env = world!();
    env.stack(
        r#"
        [service.out]
        run = "{fixture} log-lines --count 2"

        [service.err]
        run = "{fixture} log-lines --count 2 --stream err"
        "#,
    );
    env.up();
    eventually("all four lines are there", LONG, || {
        let lines = env.run("logs --json").ok().json_lines();
        let of = |from: &str, stream: &str| {
            lines.iter().filter(|one| one["from"] == from && one["stream"] == stream).count()
        };
        (of("out-1", "out") == 2 && of("err-1", "err") == 2 && lines.len() == 4).then_some(())
    });
}

#[test]
fn following_shows_lines_as_they_come_and_ends_with_the_session() {
    let env = world!();
    env.stack("[service.talk]\nrun = \"{fixture} http --port 80\"\nports = { http = 80 }\n");
    env.up();
    let following = env.belljar(["logs", "-f", "talk-1"]).spawn();
    following.until_prints("listening");
    env.run("restart talk-1").ok();
    eventually("the second start is shown", LONG, || {
        (following.stdout().matches("listening").count() == 2).then_some(())
    });
    env.run("down").ok();
    following.finish().ok();
}

#[test]
fn no_line_of_a_flood_is_lost() {
    let env = world!();
    env.stack(
        r#"
        [service.flood]
        run = "{fixture} flood --lines 100000 --after-that stay"
        ready = { log = "flood 100000 .*", within = "60s" }
        "#,
    );
    env.up();
    let output = env.run("logs flood-1").ok();
    let numbers: Vec<u32> = output
        .stdout
        .lines()
        .filter_map(|line| line.split("flood ").nth(1)?.split(' ').next()?.parse().ok())
        .collect();
    assert_eq!(numbers.len(), 100_000);
    assert!(numbers.iter().zip(1..).all(|(&number, expected)| number == expected), "in order");
}

#[test]
fn a_flood_that_ends_in_death_is_whole_too() {
    let env = world!();
    env.stack("[task.flood]\nrun = \"{fixture} flood --lines 20000\"\n");
    env.up();
    let output = env.run("logs flood").ok();
    assert_eq!(output.stdout.lines().count(), 20_000);
    assert!(output.stdout.trim_end().contains("flood 020000"));
}

#[test]
fn a_line_without_an_end_is_kept() {
    let env = world!();
    env.stack("[task.half]\nshell = \"printf 'one\\\\ntwo without end'\"\n");
    env.up();
    env.run("logs half").ok().prints(&["one", "two without end"]);
}

#[test]
fn logs_of_an_ended_session_are_still_there() {
    let env = world!();
    env.stack("[service.talk]\nrun = \"{fixture} log-lines --count 3\"\nready = { log = \"line 3\" }\n");
    let id = env.run("up --json").json()["id"].as_str().unwrap().to_owned();
    env.run("down").ok();
    env.run(&format!("logs -s {id}")).ok().prints(&["line 1", "line 3"]);
}

#[test]
fn a_closed_stdout_ends_any_command_quietly() {
    let env = world!();
    env.stack(
        "[service.flood]\nrun = \"{fixture} flood --after-that stay\"\nready = { log = \"flood 100000 .*\", within = \"60s\" }\n",
    );
    env.up();
    for words in [&["logs", "flood-1"][..], &["logs", "-f"], &["logs", "--json"], &["events", "-f"]] {
        let mut running = env.belljar(words.iter().copied()).first_line_only().spawn();
        running.close_stdin();
        // Following has to notice with the next line, so there is one.
        env.run("pause flood-1").ok();
        env.run("resume flood-1").ok();
        env.belljar(["restart", "flood-1"]).run().ok();
        let output = running.finish();
        assert!(
            !output.stderr.contains("panic") && !output.stderr.to_lowercase().contains("broken pipe"),
            "{output}"
        );
        assert_eq!(output.stderr, "", "{output}");
    }
}
