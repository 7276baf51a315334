//! What starts when, told by the events.

use belljar_e2e::world;
use belljar_model::{Event, EventKind};

/// The moment of the first event that `is`.
#[track_caller]
fn moment(events: &[Event], what: &str, is: impl Fn(&EventKind) -> bool) -> f64 {
    events.iter().find(|event| is(&event.kind)).unwrap_or_else(|| panic!("no event: {what}")).t
}

fn started(events: &[Event], name: &str) -> f64 {
    moment(
        events,
        &format!("{name} started"),
        |kind| matches!(kind, EventKind::ReplicaStarting { replica, .. } if replica.as_str() == name),
    )
}

fn ready(events: &[Event], name: &str) -> f64 {
    moment(
        events,
        &format!("{name} ready"),
        |kind| matches!(kind, EventKind::ReplicaReady { replica, .. } if replica.as_str() == name),
    )
}

/// A dependant starts right after its condition holds: far below what any polling would add.
#[track_caller]
fn follows(before: f64, after: f64) {
    assert!(after >= before, "it started {} ms too early", (before - after) * 1000.0);
    assert!(
        after - before < 0.1,
        "it started only {} ms after its condition held",
        (after - before) * 1000.0
    );
}

#[test]
fn a_dependant_starts_the_moment_its_condition_holds() {
    let env = world!();
    env.stack(
        r#"
        [service.slow]
        run = "{fixture} http --port 80 --delay-ready 600"
        ports = { http = 80 }
        ready = { http = "/health", port = "http" }

        [service.quick]
        run = "{fixture} http --port 80"
        ports = { http = 80 }

        [task.migrate]
        run = "{fixture} exit 0 --after 200"
        after = ["quick"]

        [service.on-slow]
        run = "{fixture} stay"
        after = ["slow"]

        [service.on-started]
        run = "{fixture} stay"
        after = { slow = "started" }

        [service.on-task]
        run = "{fixture} stay"
        after = ["migrate"]
        "#,
    );
    env.up();
    let events = env.events();
    follows(ready(&events, "slow-1"), started(&events, "on-slow-1"));
    follows(started(&events, "slow-1"), started(&events, "on-started-1"));
    let succeeded = moment(
        &events,
        "migrate succeeded",
        |kind| matches!(kind, EventKind::TaskSucceeded { task, .. } if task.as_str() == "migrate"),
    );
    follows(succeeded, started(&events, "on-task-1"));
    let task_started = moment(
        &events,
        "migrate started",
        |kind| matches!(kind, EventKind::TaskStarted { task, .. } if task.as_str() == "migrate"),
    );
    follows(ready(&events, "quick-1"), task_started);
    // What waits for the quick ones does not wait for the slow one.
    assert!(started(&events, "on-task-1") < ready(&events, "slow-1"));
}

#[test]
fn replicas_start_beside_each_other_unless_asked_to_go_one_by_one() {
    let env = world!();
    env.stack(
        r#"
        [service.serial]
        run = "{fixture} tcp --port 80 --after 150"
        ports = { main = 80 }
        replicas = 3
        boot = "serial"

        [service.parallel]
        run = "{fixture} tcp --port 80 --after 150"
        ports = { main = 80 }
        replicas = 3
        "#,
    );
    env.up();
    let events = env.events();
    follows(ready(&events, "serial-1"), started(&events, "serial-2"));
    follows(ready(&events, "serial-2"), started(&events, "serial-3"));
    let starts: Vec<_> = (1..=3).map(|n| started(&events, &format!("parallel-{n}"))).collect();
    let first_ready = (1..=3).map(|n| ready(&events, &format!("parallel-{n}"))).fold(f64::MAX, f64::min);
    assert!(starts.iter().all(|&start| start < first_ready), "{starts:?} {first_ready}");
}

#[test]
fn everything_that_can_start_at_once_does() {
    let env = world!();
    env.stack(
        r#"
        [service.a]
        run = "{fixture} tcp --port 80 --after 200"
        ports = { main = 80 }

        [service.b]
        run = "{fixture} tcp --port 80 --after 200"
        ports = { main = 80 }

        [service.c]
        run = "{fixture} tcp --port 80 --after 200"
        ports = { main = 80 }
        after = ["a", "b"]
        "#,
    );
    env.up();
    let events = env.events();
    assert!(started(&events, "b-1") < ready(&events, "a-1"));
    follows(ready(&events, "a-1").max(ready(&events, "b-1")), started(&events, "c-1"));
}

#[test]
fn a_failed_task_ends_the_start_with_its_last_lines() {
    let env = world!();
    env.stack(
        r#"
        [task.migrate]
        run = "{fixture} exit 3 --say table-users-exists-already"

        [service.api]
        run = "{fixture} http --port 80"
        ports = { http = 80 }
        after = ["migrate"]
        "#,
    );
    env.run("up").ends_with(5).complains(&["migrate", "exit code 3", "table-users-exists-already"]);
    env.nothing_is_left_within(std::time::Duration::from_secs(1));
    let events = env.events();
    let failed = events.iter().find_map(|event| match &event.kind {
        EventKind::TaskFailed { exit, last_lines, .. } => Some((exit.code, last_lines.clone())),
        _ => None,
    });
    assert_eq!(failed, Some((Some(3), vec!["table-users-exists-already".to_owned()])));
    let api_started = events.iter().any(|event| {
        matches!(&event.kind, EventKind::ReplicaStarted { replica, .. } if replica.as_str() == "api-1")
    });
    assert!(!api_started, "its condition never held");
}

#[test]
fn a_task_past_its_time_has_failed() {
    let env = world!();
    env.stack("[task.migrate]\nrun = \"{fixture} stay\"\ntimeout = \"300ms\"\n");
    env.run("up").ends_with(5).complains(&["migrate"]);
    env.nothing_is_left_within(std::time::Duration::from_secs(1));
}

#[test]
fn a_task_reaches_what_it_comes_after_by_name() {
    let env = world!();
    env.stack(
        r#"
        [service.db]
        run = "{fixture} http --port 80 --name ${self.name}"
        ports = { http = 80 }

        [task.migrate]
        shell = "{fixture} get http://db/ > {dir}/seen && {fixture} get http://${db.addr.http}/ >> {dir}/seen"
        after = ["db"]
        "#,
    );
    env.up();
    assert_eq!(fs_err::read_to_string(env.dir().join("seen")).unwrap(), "db-1\ndb-1\n");
}
