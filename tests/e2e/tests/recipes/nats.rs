//! NATS as a cluster.

use belljar_e2e::{TestEnv, needs, world};

use super::{refused, says, stops_with_zero, until};

const CLUSTER: &str = r#"
    [service.bus]
    use = "nats"
    with = { jetstream = true, cluster = true }
    replicas = 3
"#;

/// Asks a server one thing and prints its answer: `ask HOST SUBJECT [BODY]`.
const ASK: &str = r#"
import socket, sys

host, subject = sys.argv[1:3]
body = sys.argv[3] if len(sys.argv) > 3 else ""
with socket.create_connection((host, 4222), 10) as stream, stream.makefile("rwb") as file:
    file.readline()
    file.write(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\nSUB answer 1\r\n')
    file.write(f"PUB {subject} answer {len(body)}\r\n{body}\r\n".encode())
    file.flush()
    while True:
        words = file.readline().split()
        if not words:
            sys.exit("the server hung up")
        if words[0] == b"PING":
            file.write(b"PONG\r\n")
            file.flush()
        elif words[0] == b"HMSG":
            sys.exit("nobody answers")
        elif words[0] == b"MSG":
            print(file.read(int(words[-1])).decode())
            break
"#;

#[test]
fn a_cluster_of_nats_outlives_the_loss_of_one() {
    let env = world!();
    needs!("nats-server", "python3", "curl");
    env.stack(CLUSTER);
    env.write("ask.py", ASK);
    env.up();
    let routes = says(&env, "curl -fsS http://bus-2:8222/routez");
    assert!(routes.contains("\"num_routes\": 2,"), "{routes}");
    // Ready means that a leader answers, so the first stream is there at once.
    let stream = r#"{"name":"orders","subjects":["order.*"],"num_replicas":3}"#;
    let created = ask(&env, "bus-1", &format!("'$JS.API.STREAM.CREATE.orders' '{stream}'"));
    assert!(created.contains("\"num_replicas\":3") && !created.contains("\"error\""), "{created}");
    let put = |host| ask(&env, host, "order.one 'a cake'");
    assert!(put("bus-2").contains("\"seq\":1"));
    env.run("kill bus-1").ok();
    until(&env, "python3 {dir}/ask.py bus-2 order.two 'a pie' | grep -q '\"seq\":'");
    env.run("start bus-1").ok();
    until(&env, "python3 {dir}/ask.py bus-1 '$JS.API.STREAM.INFO.orders' | grep -q '\"messages\":[2-9]'");
    stops_with_zero(&env, "bus-3", "Server Exiting");
    assert!(
        env.run("env --json").json()["env"]["BUS_URL"].as_str().is_some_and(|url| url == "nats://bus:4222")
    );
}

#[track_caller]
fn ask(env: &TestEnv, host: &str, words: &str) -> String {
    says(env, &format!("python3 {{dir}}/ask.py {host} {words}"))
}

#[test]
fn parameters_of_nats_are_checked() {
    let env = world!();
    refused(&env, "nats", "cluster = 3", &["expected true or false for `cluster`"]);
    refused(&env, "nats", "jetsteam = true", &["has no parameter `jetsteam`", "did you mean `jetstream`?"]);
}
