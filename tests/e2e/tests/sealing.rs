//! What a process of a session sees, and what it cannot do.

use std::path::Path;

use belljar_e2e::{TestEnv, world};
use serde_json::Value;

const WEB: &str = r#"
    [service.web]
    run = "{fixture} http --port 80 --name ${self.name}"
    ports = { http = 80 }
    replicas = 3

    [service.db]
    run = "{fixture} tcp --port 5432"
    ports = { sql = 5432 }
"#;

/// What the fixture tells from the session's own place.
#[track_caller]
fn seal(env: &TestEnv) -> Value {
    env.run("run -- {fixture} check-seal").ok().document()
}

/// What it tells from a replica.
#[track_caller]
fn seal_of_replica(env: &TestEnv, replica: &str) -> Value {
    env.up();
    env.run(&format!("exec {replica} -- {{fixture}} check-seal")).ok().document()
}

fn is_powerless(seal: &Value) {
    assert_ne!(seal["uid"], 0, "{seal:#}");
    assert_ne!(seal["gid"], 0, "{seal:#}");
    assert!(seal["user"].is_string(), "its uid stands in /etc/passwd: {seal:#}");
    for field in ["cap_eff", "cap_prm", "cap_inh", "cap_amb"] {
        assert_eq!(seal[field], "0000000000000000", "{field} in {seal:#}");
    }
    assert_eq!(seal["no_new_privs"], "1", "{seal:#}");
    assert_eq!(seal["opened"], serde_json::json!([]), "doors that must be closed: {seal:#}");
    assert_eq!(seal["raw_socket"], false, "{seal:#}");
    assert_eq!(seal["unprivileged_port_start"], "0", "{seal:#}");
    assert_eq!(seal["descriptors"], serde_json::json!([]), "nothing of belljar's is inherited: {seal:#}");
}

#[test]
fn a_command_is_an_ordinary_user_without_a_capability() {
    let env = world!();
    env.stack("name = \"empty\"\n");
    is_powerless(&seal(&env));
}

#[test]
fn a_replica_is_an_ordinary_user_without_a_capability() {
    let env = world!();
    env.stack(WEB);
    is_powerless(&seal_of_replica(&env, "web-2"));
}

#[test]
fn nobody_inside_can_end_the_sessions_init() {
    let env = world!();
    env.stack("name = \"empty\"\n");
    let script =
        "for s in KILL STOP TERM INT HUP USR1 CHLD; do kill -$s 1 2>/dev/null; done; echo here; exit 5";
    env.belljar(["run", "--", "sh", "-c", script]).run().ends_with(5).prints_exactly("here\n");
}

#[test]
fn a_session_has_its_own_network_and_no_way_out() {
    let env = world!();
    env.stack(WEB);
    let own = seal(&env);
    let names: Vec<_> = own["interfaces"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(names.contains(&"lo"), "{names:?}");
    assert_eq!(own["default_route"], false);
    let host = fs_err::read_to_string("/proc/net/dev").unwrap();
    let outward = host
        .lines()
        .skip(2)
        .filter_map(|line| Some(line.split(':').next()?.trim()))
        .filter(|one| *one != "lo");
    for name in outward {
        assert!(!names.contains(&name), "the host's interface {name} is in the session: {names:?}");
    }

    let replica = seal_of_replica(&env, "web-1");
    assert_eq!(replica["interfaces"].as_array().map(Vec::len), Some(2), "lo and its own: {replica:#}");
    assert_eq!(replica["default_route"], false);
    let address = env.replica("web-1")["host"].as_str().unwrap().to_owned();
    let addresses = replica["addresses"].as_array().unwrap();
    assert_eq!(addresses.len(), 2, "{addresses:?}");
    assert!(addresses.contains(&Value::from(address.as_str())), "{address} in {addresses:?}");
    assert!(addresses.contains(&Value::from("127.0.0.1")), "{addresses:?}");
    // An address of the world outside is refused at once, by the kernel: there is no route.
    env.run("exec -- {fixture} connect 1.1.1.1 53").ends_with(4).prints_exactly("no way there\n");
}

#[test]
fn addresses_are_the_same_in_every_session() {
    let env = world!();
    env.stack(WEB);
    let resolve = "run -- sh -c";
    let ask = |env: &TestEnv| {
        let words = resolve.split(' ').chain(["{fixture} resolve web-3; {fixture} resolve db"]);
        env.belljar(words).run().ok().stdout
    };
    assert_eq!(ask(&env), ask(&env));
}

#[test]
fn names_resolve_for_services_and_replicas_everywhere() {
    let env = world!();
    env.stack(WEB);
    env.up();
    let address = |name: &str| env.replica(name)["host"].as_str().unwrap().to_owned();
    let mut all = [address("web-1"), address("web-2"), address("web-3")];
    all.sort_by_key(|one| one.parse::<std::net::Ipv4Addr>().unwrap());
    for place in ["exec --", "exec web-2 --", "exec db-1 --"] {
        env.run(&format!("{place} {{fixture}} resolve web"))
            .ok()
            .prints_exactly(&format!("{}\n", all.join("\n")));
        env.run(&format!("{place} {{fixture}} resolve web-2"))
            .ok()
            .prints_exactly(&format!("{}\n", address("web-2")));
        env.run(&format!("{place} {{fixture}} resolve db"))
            .ok()
            .prints_exactly(&format!("{}\n", address("db-1")));
        env.run(&format!("{place} {{fixture}} resolve no-such-name")).ends_with(1).prints_exactly("");
        env.run(&format!("{place} {{fixture}} get http://web-3/")).ok().prints_exactly("web-3\n");
    }
    let own = env.run("exec web-2 -- {fixture} check-seal").ok().document();
    assert_eq!(own["hostname"], "web-2");
}

#[test]
fn names_resolve_over_dns_and_the_hosts_resolver_is_never_asked() {
    let env = world!();
    env.stack(WEB);
    let own = seal_of_replica(&env, "web-1");
    let servers = own["nameservers"].as_array().unwrap();
    assert_eq!(servers.len(), 1, "the session's own name server alone: {own:#}");
    let server = servers[0].as_str().unwrap();
    // A query by hand: id 7, one question, `web-2`, A, IN. The answer ends with the address.
    let query = r"\000\007\001\000\000\001\000\000\000\000\000\000\005web-2\000\000\001\000\001";
    let script = format!(
        "exec 3<>/dev/udp/{server}/53; printf '{query}' >&3; dd bs=512 count=1 status=none <&3 | tail -c 4 | od -An -tu1"
    );
    let output = env.belljar(["exec", "web-1", "--", "timeout", "5", "bash", "-c", &script]).run().ok();
    let answer = output.stdout.split_whitespace().collect::<Vec<_>>().join(".");
    assert_eq!(answer, env.replica("web-2")["host"].as_str().unwrap(), "{output}");
}

#[test]
fn udp_passes_between_replicas() {
    let env = world!();
    env.stack(
        r#"
        [service.echo]
        run = "{fixture} udp-echo --port 53"
        ports = { dns = { port = 53, protocol = "udp" } }
        ready = { log = "listening" }
        "#,
    );
    env.run("run -- {fixture} udp-ask echo 53 hello").ok().prints_exactly("hello\n");
}

#[test]
fn a_session_sees_its_own_processes_alone() {
    let env = world!();
    env.stack(WEB);
    let own = seal(&env);
    let pids = own["pids"].as_array().unwrap();
    // Its init, four replicas, the command, and what belljar needs to run them.
    assert!(pids.len() <= 8, "{pids:?}");
    assert_eq!(pids[0], 1);
    assert!(pids.iter().all(|pid| pid.as_u64().is_some_and(|pid| pid < 100)), "{pids:?}");
}

#[test]
fn temporary_directories_are_private_and_empty() {
    let env = world!();
    env.stack(WEB);
    let outside = tempfile::Builder::new().prefix("bj-outside-").tempdir_in("/tmp").unwrap();
    let name = outside.path().file_name().unwrap().to_str().unwrap();
    let script = "ls -A /tmp | wc -l; ls -A /dev/shm | wc -l; echo mine > /tmp/mine; cat /tmp/mine";
    env.belljar(["run", "--", "sh", "-c", script]).run().ok().prints_exactly("0\n0\nmine\n");
    assert!(!Path::new("/tmp/mine").exists(), "it would be the host's own /tmp");
    let own = seal(&env);
    assert!(!own["run"].to_string().contains("systemd"), "the host's /run is covered: {own:#}");
    assert!(!own["tmp"].to_string().contains(name), "{own:#}");
    assert_eq!(own["tmp_writable"], true);
}

#[test]
fn commands_and_replicas_share_one_private_tmp() {
    let env = world!();
    env.stack(WEB);
    env.up();
    env.belljar(["exec", "web-1", "--", "sh", "-c", "echo shared > /tmp/note"]).run().ok();
    env.run("exec -- cat /tmp/note").ok().prints_exactly("shared\n");
    assert!(!Path::new("/tmp/note").exists());
}

#[test]
fn a_checkout_in_tmp_works_and_stays_writable() {
    if belljar_e2e::lacks_sealing() {
        return;
    }
    let env = TestEnv::below(Path::new("/tmp"));
    env.stack(WEB);
    let script = "cat belljar.toml | grep -c service; echo made > made-inside; {fixture} get http://web-1/";
    env.belljar(["run", "--", "sh", "-c", script]).run().ok().prints_exactly("2\nweb-1\n");
    assert_eq!(fs_err::read_to_string(env.dir().join("made-inside")).unwrap(), "made\n");
    // What lies beside it in the host's /tmp is covered.
    fs_err::write(env.root().join("neighbour"), "x").unwrap();
    env.belljar(["run", "--", "test", "-e", "{root}/neighbour"]).run().ends_with(1);
}

#[test]
fn the_project_is_writable_and_what_is_made_there_is_the_callers() {
    let env = world!();
    env.stack("name = \"empty\"\n");
    env.belljar(["run", "--", "sh", "-c", "mkdir -p out && echo x > out/file"]).run().ok();
    let made = env.dir().join("out/file");
    let owner = std::os::unix::fs::MetadataExt::uid(&fs_err::metadata(&made).unwrap());
    assert_eq!(owner, rustix::process::geteuid().as_raw(), "the one who ran the command can remove it");
    fs_err::remove_dir_all(env.dir().join("out")).unwrap();
}

#[test]
fn a_project_that_only_its_owner_can_read_works() {
    let env = world!();
    env.stack(WEB);
    let closed = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs_err::set_permissions(env.dir(), closed).unwrap();
    env.run("run -- {fixture} get http://web-2/").ok().prints_exactly("web-2\n");
}

#[test]
fn a_read_only_file_system_refuses_writes_outside_the_session() {
    let env = world!();
    env.stack("filesystem = \"ro\"\n");
    let script = "echo x > /tmp/fine && ! echo x > {root}/home/not 2>/dev/null && ! echo x > {dir}/not 2>/dev/null && echo held";
    env.belljar(["run", "--", "sh", "-c", script]).run().ok().prints_exactly("held\n");
    assert!(!env.home().join("not").exists());
    assert!(!env.dir().join("not").exists());
}

#[test]
fn an_overlay_lets_writes_happen_and_end_with_the_session() {
    let env = world!();
    env.stack("filesystem = \"overlay\"\n");
    env.write("kept.txt", "before\n");
    let script =
        "echo after > {dir}/kept.txt && echo new > {dir}/new.txt && cat {dir}/kept.txt {dir}/new.txt";
    env.belljar(["run", "--", "sh", "-c", script]).run().ok().prints_exactly("after\nnew\n");
    assert_eq!(fs_err::read_to_string(env.dir().join("kept.txt")).unwrap(), "before\n");
    assert!(!env.dir().join("new.txt").exists());
}

#[test]
fn a_private_home_is_empty_and_ends_with_the_session() {
    let env = world!();
    fs_err::write(env.home().join("secret"), "x").unwrap();
    env.stack("home = \"private\"\n");
    let script = "ls -A \"$HOME\" | wc -l; echo x > \"$HOME/made\" && echo could";
    env.belljar(["run", "--", "sh", "-c", script]).run().ok().prints_exactly("0\ncould\n");
    assert!(!env.home().join("made").exists());
    env.stack("home = \"host\"\n");
    env.belljar(["run", "--", "sh", "-c", "ls -A \"$HOME\""]).run().ok().prints(&["secret"]);
}

#[test]
fn low_ports_bind_and_every_replica_has_the_port_for_itself() {
    let env = world!();
    env.stack(WEB);
    let script = "for n in 1 2 3; do {fixture} get http://web-$n:80/; done";
    env.belljar(["run", "--", "sh", "-c", script]).run().ok().prints_exactly("web-1\nweb-2\nweb-3\n");
}

#[test]
fn volumes_and_files_are_where_the_stack_says() {
    let env = world!();
    env.stack(
        r#"
        [service.store]
        run = "{fixture} http --port 80"
        ports = { http = 80 }
        replicas = 2
        volumes = { data = "/data/store" }
        files = { "/etc/store/store.conf" = "name = ${self.name}\n" }
        "#,
    );
    env.up();
    env.run("exec store-2 -- cat /etc/store/store.conf").ok().prints_exactly("name = store-2\n");
    env.belljar(["exec", "store-1", "--", "sh", "-c", "echo one > /data/store/file"]).run().ok();
    env.run("exec store-2 -- ls /data/store").ok().prints_exactly("");
    env.run("kill store-1").ok();
    env.run("start store-1").ok();
    env.run("exec store-1 -- cat /data/store/file").ok().prints_exactly("one\n");
    assert!(!Path::new("/etc/store").exists() && !Path::new("/data/store").exists(), "no trace on the host");
}
