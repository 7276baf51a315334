//! `up --metrics`: what Prometheus would read, read as strictly.

#![expect(clippy::float_cmp, reason = "whole numbers are told as they are")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use belljar_e2e::{LONG, TestEnv, eventually, needs, world};
use belljar_model::ErrorCode;

const STACK: &str = "[service.api]\nrun = \"{fixture} http --port 9100 --name ${self.name}\"\nports = { metrics = 9100 }\n\
                     replicas = 2\nrestart = \"never\"\n\
                     [service.job]\nrun = \"{fixture} http --port 9 --name job\"\nports = { http = 80, metrics = 9 }\n\
                     ready = { tcp = \"metrics\" }\n\
                     [service.quiet]\nrun = \"{fixture} stay\"\n";

/// A sample's labels and its value.
type Sample = (BTreeMap<String, String>, f64);

/// The samples by name. The head of a family stands once and before its samples, which stand together.
#[track_caller]
fn samples(text: &str) -> BTreeMap<String, Vec<Sample>> {
    let mut all: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
    let mut heads = BTreeSet::new();
    let mut over = BTreeSet::new();
    let mut current = String::new();
    let label = regex::Regex::new(r#"^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|\})"#).unwrap();
    let name_of = regex::Regex::new(r"^[a-zA-Z_:][a-zA-Z0-9_:]*").unwrap();
    assert!(text.ends_with('\n'), "the last line has no end");
    for line in text.lines() {
        let mut enter = |name: &str| {
            if current != name {
                assert!(!over.contains(name), "the family {name} is torn apart:\n{text}");
                over.insert(std::mem::replace(&mut current, name.to_owned()));
            }
        };
        if let Some(head) = line.strip_prefix("# ") {
            let words: Vec<_> = head.splitn(3, ' ').collect();
            assert!(["HELP", "TYPE"].contains(&words[0]), "{line}");
            assert!(heads.insert((words[0].to_owned(), words[1].to_owned())), "twice: {line}");
            enter(words[1]);
            continue;
        }
        let name = name_of.find(line).unwrap_or_else(|| panic!("no name: {line}")).as_str();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| {
            let family = name.strip_suffix(suffix)?;
            heads.contains(&("TYPE".to_owned(), family.to_owned())).then_some(family)
        });
        enter(family.unwrap_or(name));
        let mut rest = line[name.len()..].strip_prefix('{').unwrap_or_else(|| panic!("no labels: {line}"));
        let mut labels = BTreeMap::new();
        loop {
            let found = label.captures(rest).unwrap_or_else(|| panic!("no label at `{rest}`: {line}"));
            assert!(labels.insert(found[1].to_owned(), found[2].to_owned()).is_none(), "twice: {line}");
            rest = &rest[found[0].len()..];
            if &found[3] == "}" {
                break;
            }
        }
        let value = rest.strip_prefix(' ').and_then(|value| value.parse().ok());
        let value = value.unwrap_or_else(|| panic!("no value at `{rest}`: {line}"));
        assert!(labels.contains_key("session"), "{line}");
        all.entry(name.to_owned()).or_default().push((labels, value));
    }
    all
}

fn fetch(url: &str) -> (String, String) {
    let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[track_caller]
fn scraped(env: &TestEnv) -> BTreeMap<String, Vec<Sample>> {
    let url = env.ps()["metrics"].as_str().expect("metrics are served").to_owned();
    let (head, body) = fetch(&url);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.to_ascii_lowercase().contains("content-type: text/plain; version=0.0.4"), "{head}");
    samples(&body)
}

/// The one value of a name for a replica.
#[track_caller]
fn value(all: &BTreeMap<String, Vec<Sample>>, name: &str, replica: &str) -> f64 {
    let found: Vec<_> = all[name].iter().filter(|(labels, _)| labels["replica"] == replica).collect();
    let [(labels, value)] = found[..] else { panic!("{name} of {replica}: {found:?}") };
    assert_eq!(labels["service"], replica.rsplit_once('-').unwrap().0);
    *value
}

#[track_caller]
fn state(all: &BTreeMap<String, Vec<Sample>>, replica: &str) -> String {
    let of = |labels: &BTreeMap<String, String>| labels["replica"] == replica;
    let on: Vec<_> =
        all["belljar_replica_state"].iter().filter(|(labels, on)| of(labels) && *on == 1.0).collect();
    let [(labels, _)] = on[..] else { panic!("{replica} is in one state: {on:?}") };
    labels["state"].clone()
}

#[test]
fn every_replica_is_told_of_in_one_exposition() {
    let env = world!();
    env.stack(STACK);
    let session = env.run("up --metrics --json").json();
    assert!(session["metrics"].as_str().unwrap().starts_with("http://127.0.0.1:"), "{session:#}");
    let all = scraped(&env);
    assert_eq!(all["asked_total"].len(), 3);
    for replica in ["api-1", "api-2", "job-1"] {
        assert_eq!(value(&all, "belljar_up", replica), 1.0, "{replica}");
        assert!(value(&all, "asked_total", replica) >= 1.0);
        assert!(value(&all, "belljar_replica_ready_seconds", replica) > 0.0);
        assert_eq!(value(&all, "belljar_replica_restarts_total", replica), 0.0);
        assert_eq!(state(&all, replica), "ready");
    }
    assert_eq!(all["asked_total"][1].0["name"], "api-2");
    assert_eq!(state(&all, "quiet-1"), "ready");
    assert_eq!(all["belljar_up"].len(), 3, "one without such a port is not asked");
    let info = &all["belljar_session_info"][0].0;
    assert_eq!((&info["session"], &info["state"]), (&"project".to_owned(), &"ready".to_owned()));

    env.run("kill api-2").ok();
    let all = scraped(&env);
    assert_eq!((value(&all, "belljar_up", "api-1"), value(&all, "belljar_up", "api-2")), (1.0, 0.0));
    assert_eq!(all["asked_total"].len(), 2);
    assert_eq!(state(&all, "api-2"), "exited");
    env.run("start api-2").ok();
    let all = scraped(&env);
    assert_eq!(value(&all, "belljar_up", "api-2"), 1.0);
    assert_eq!(value(&all, "belljar_replica_restarts_total", "api-2"), 1.0);
    env.run("ps").ok().prints(&["/metrics"]);
}

#[test]
fn one_that_says_it_wrongly_or_not_at_all_hurts_nobody() {
    let env = world!();
    let broken = env.write("broken", "# TYPE a counter\na 1\n<html>\n");
    let good = env.write(
        "good",
        "# HELP took How long.\n# TYPE took histogram\ntook_bucket{le=\"0.1\"} 1\ntook_bucket{le=\"+Inf\"} 2\ntook_sum 1.5\n\
         took_count 2\nplain{replica=\"theirs\",path=\"a\\\"b\"} 7\n",
    );
    let service = |name: &str, file: &std::path::Path| {
        format!(
            "[service.{name}]\nrun = \"{{fixture}} http --port 1 --metrics {}\"\nports = {{ metrics = 1 }}\n",
            file.display()
        )
    };
    env.stack(&format!(
        "{}{}{}[service.deaf]\nrun = \"{{fixture}} tcp --port 1\"\nports = {{ metrics = 1 }}\n",
        service("broken", &broken),
        service("good", &good),
        service("gone", std::path::Path::new("/nowhere"))
    ));
    env.run("up --metrics").ok();
    let all = scraped(&env);
    for (replica, up) in [("broken-1", 0.0), ("good-1", 1.0), ("gone-1", 0.0), ("deaf-1", 0.0)] {
        assert_eq!(value(&all, "belljar_up", replica), up, "{replica}");
    }
    assert!(!all.contains_key("a"), "half of what is broken is not told");
    assert_eq!(all["took_bucket"].len(), 2);
    let plain = &all["plain"][0].0;
    assert_eq!((plain["exported_replica"].as_str(), plain["replica"].as_str()), ("theirs", "good-1"));
    // One that stands still costs the others no more than its time.
    env.run("pause broken").ok();
    let all = scraped(&env);
    assert_eq!((value(&all, "belljar_up", "broken-1"), value(&all, "belljar_up", "good-1")), (0.0, 1.0));
    assert_eq!(state(&all, "broken-1"), "paused");
}

#[test]
fn what_real_servers_tell_is_understood() {
    let env = world!();
    needs!("etcd", "haproxy");
    env.stack(
        "[service.kv]\nuse = \"etcd\"\n[service.web]\nrun = \"{fixture} http --port 80\"\nports = { http = 80 }\n\
         [service.front]\nuse = \"haproxy\"\nwith = { upstream = \"web\" }\nafter = [\"web\"]\nreplicas = 2\n",
    );
    env.run("up --metrics").ok();
    let all = scraped(&env);
    for replica in ["kv-1", "front-1", "front-2"] {
        assert_eq!(value(&all, "belljar_up", replica), 1.0, "{replica}");
    }
    assert_eq!(value(&all, "etcd_server_has_leader", "kv-1"), 1.0);
    assert_eq!(all["haproxy_process_uptime_seconds"].len(), 2);
}

#[test]
fn the_port_can_be_asked_for_and_goes_with_the_session() {
    let env = world!();
    env.stack(STACK);
    let port = 12000 + std::process::id() % 20000;
    env.run(&format!("up --metrics={port}")).ok();
    assert_eq!(env.ps()["metrics"], format!("http://127.0.0.1:{port}/metrics"));
    scraped(&env);
    let message = env.run(&format!("up --new --metrics={port} --json")).json_error(ErrorCode::PortTaken);
    assert!(message.contains("--metrics"), "{message}");
    env.run("down").ok();
    eventually("nobody listens", LONG, || TcpStream::connect(format!("127.0.0.1:{port}")).err());
    env.up();
    assert_eq!(env.ps()["metrics"], serde_json::Value::Null);
    env.run("up --metrics").ok().complains(&["started without --metrics"]);
}
