//! The timeline: whole, in order, and the truth.

use belljar_e2e::{LONG, eventually, world};
use belljar_model::fold::{Folded, Recording};
use belljar_model::{Event, EventKind, SessionState};
use serde_json::Value;

const WEB: &str = r#"
    [service.web]
    run = "{fixture} http --port 80"
    ports = { http = 80 }
    replicas = 2

    [task.seed]
    run = "{fixture} exit 0"
    after = ["web"]
"#;

fn is_whole(events: &[Event]) {
    for (event, expected) in events.iter().zip(1..) {
        assert_eq!(event.seq, expected, "a gap before {event:?}");
        assert_eq!(event.v, 1);
    }
    assert!(events.windows(2).all(|two| two[0].t <= two[1].t), "time runs forward");
    assert!(events.iter().all(|event| event.wall.ends_with('Z')), "for people, in UTC");
}

#[test]
fn the_recorded_timeline_is_whole_and_its_fold_is_what_the_supervisor_says() {
    let env = world!();
    env.stack(WEB);
    env.up();
    for words in ["kill web-1", "pause web-2", "start web-1", "resume web-2", "restart web-1", "stop web-2"] {
        env.run(words).ok();
        let recording = env.recording();
        assert_eq!((recording.skipped, recording.torn), (0, false));
        is_whole(&recording.events);
        agrees(&Folded::of(&recording.events), &env.ps());
    }
    env.run("down").ok();
    let recording = env.recording();
    is_whole(&recording.events);
    assert_eq!(Folded::of(&recording.events).state, Some(SessionState::Ended));
    assert!(matches!(recording.events.first().map(|one| &one.kind), Some(EventKind::SessionStarting { .. })));
    assert!(matches!(recording.events.last().map(|one| &one.kind), Some(EventKind::SessionEnded { .. })));
}

/// What the file adds up to is what the supervisor tells.
#[track_caller]
fn agrees(folded: &Folded, session: &Value) {
    assert_eq!(session["id"], folded.session.as_ref().unwrap().as_str());
    assert_eq!(session["name"], folded.name.as_deref().unwrap());
    assert_eq!(session["state"], folded.state.unwrap().as_str(), "{session:#}");
    let told =
        session["services"].as_object().unwrap().values().flat_map(|one| one["replicas"].as_array().unwrap());
    let mut count = 0;
    for replica in told {
        count += 1;
        let name = belljar_model::ReplicaName::new(replica["name"].as_str().unwrap()).unwrap();
        let folded = &folded.replicas[&name];
        assert_eq!(replica["state"], folded.state.as_str(), "{replica:#}");
        assert_eq!(replica["generation"], folded.generation, "{replica:#}");
        assert_eq!(replica.get("pid").and_then(Value::as_i64), folded.pid.map(i64::from), "{replica:#}");
        assert_eq!(
            replica.get("exit").cloned().unwrap_or_default(),
            folded.exit.as_ref().map(|exit| serde_json::to_value(exit).unwrap()).unwrap_or_default()
        );
    }
    assert_eq!(count, folded.replicas.len());
    for (name, task) in &folded.tasks {
        assert_eq!(session["tasks"][name.as_str()]["state"], task.state.as_str());
    }
}

#[test]
fn events_prints_the_file() {
    let env = world!();
    env.stack(WEB);
    env.up();
    let printed = env.run("events --json").ok();
    let events = Recording::read(&printed.stdout).expect("lines as in the file").events;
    is_whole(&events);
    assert_eq!(events, env.events());
    let plain = env.run("events").ok();
    assert_eq!(plain.stdout.lines().count(), events.len(), "a line an event: {plain}");
    assert!(plain.stdout.contains("replica.ready") && plain.stdout.contains("web-2"), "{plain}");
}

#[test]
fn following_shows_events_as_they_happen_to_the_end_without_a_gap() {
    let env = world!();
    env.stack(WEB);
    env.up();
    let following = env.belljar(["events", "-f", "--json"]).spawn();
    following.until_prints("session.ready");
    env.run("kill web-1").ok();
    following.until_prints("replica.exited");
    env.run("start web-1").ok();
    env.run("down").ok();
    let output = following.finish().ok();
    let events = Recording::read(&output.stdout).expect("lines as in the file").events;
    is_whole(&events);
    assert_eq!(events, env.events(), "all of it, to the end");
}

#[test]
fn two_that_follow_see_the_same() {
    let env = world!();
    env.stack(WEB);
    env.up();
    let followers: Vec<_> = (0..3).map(|_| env.belljar(["events", "-f", "--json"]).spawn()).collect();
    for one in &followers {
        one.until_prints("session.ready");
    }
    for _ in 0..5 {
        env.run("restart web").ok();
    }
    env.run("down").ok();
    let outputs: Vec<_> = followers.into_iter().map(|one| one.finish().ok().stdout).collect();
    assert!(outputs.windows(2).all(|two| two[0] == two[1]));
}

#[test]
fn an_event_is_written_before_its_command_is_answered() {
    let env = world!();
    env.stack(WEB);
    env.up();
    for generation in 2..6 {
        env.run("restart web-1").ok();
        let ready = env.events().into_iter().any(|event| {
            matches!(event.kind, EventKind::ReplicaReady { replica, generation: one, .. }
                if one == generation && replica.as_str() == "web-1")
        });
        assert!(ready, "generation {generation}");
    }
}

#[test]
fn the_timeline_of_a_start_that_failed_says_why() {
    let env = world!();
    env.stack("[service.web]\nrun = \"{fixture} exit 9 --say why-it-failed\"\nports = { http = 80 }\n");
    env.run("up").ends_with(5);
    let events = env.events();
    is_whole(&events);
    let last_lines = events.iter().find_map(|event| match &event.kind {
        EventKind::ReplicaExited { last_lines, exit, .. } if exit.code == Some(9) => Some(last_lines.clone()),
        _ => None,
    });
    assert_eq!(last_lines, Some(vec!["why-it-failed".to_owned()]));
    let Some(EventKind::SessionEnded { why }) = events.last().map(|one| one.kind.clone()) else {
        panic!("the last event: {events:?}")
    };
    assert!(why.contains("web"), "{why}");
}

#[test]
fn a_host_that_is_killed_leaves_a_timeline_that_can_be_read() {
    let env = world!();
    env.stack(WEB);
    env.up();
    let replica = env.processes("http --port 80").pop().unwrap();
    let host = env.ancestors(&replica).pop().unwrap();
    host.kill();
    eventually("it is gone", LONG, || env.footprint().is_empty().then_some(()));
    let recording = env.recording();
    is_whole(&recording.events);
    let id = recording.events[0].session.clone().unwrap();
    let printed = env.run(&format!("events --json -s {id}")).ok();
    assert_eq!(Recording::read(&printed.stdout).unwrap().events, recording.events);
}

#[test]
fn damage_in_the_timeline_of_a_live_session_is_told() {
    let env = world!();
    env.stack(WEB);
    env.up();
    let path = env.files_named("events.jsonl").remove(0);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("{\"v\":1,\"seq\":3", "GARBAGE", 1)).unwrap();
    env.run("events --json").json_error(belljar_model::ErrorCode::StoreCorrupt);
    std::fs::write(&path, text).unwrap();
    env.run("events").ok();
}
