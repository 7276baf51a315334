//! ZooKeeper, alone and as an ensemble.

use belljar_e2e::{TestEnv, needs, world};

use super::{kill_and_start, refused, says, until};

/// Creates or reads a node: `zk HOST create|get PATH [DATA]`, in the protocol's own encoding.
const CLIENT: &str = r#"
import socket, struct, sys

host, verb, path = sys.argv[1:4]
data = sys.argv[4].encode() if len(sys.argv) > 4 else b""
text = lambda it: struct.pack(">i", len(it)) + it

with socket.create_connection((host, 2181), 10) as stream:
    file = stream.makefile("rwb")

    def ask(body):
        file.write(text(body))
        file.flush()
        (length,) = struct.unpack(">i", file.read(4))
        return file.read(length)

    ask(struct.pack(">iqiq", 0, 0, 10000, 0) + text(b"\0" * 16))
    if verb == "create":
        # For everybody, with every right, for good.
        acl = struct.pack(">ii", 1, 31) + text(b"world") + text(b"anyone")
        answer = ask(struct.pack(">ii", 1, 1) + text(path.encode()) + text(data) + acl + struct.pack(">i", 0))
    else:
        answer = ask(struct.pack(">ii", 1, 4) + text(path.encode()) + b"\0")
    (fault,) = struct.unpack(">i", answer[12:16])
    if fault:
        sys.exit(f"error {fault}")
    (length,) = struct.unpack(">i", answer[16:20])
    print(answer[20 : 20 + length].decode())
"#;

fn zk(host: &str, words: &str) -> String {
    format!("python3 {{dir}}/zk.py {host} {words}")
}

/// Java ends with this code where SIGTERM has been heard.
#[track_caller]
fn stops_by_itself(env: &TestEnv, replica: &str) {
    env.run(&format!("stop {replica}")).ok();
    let seen = env.replica(replica);
    assert_eq!(seen["exit"]["code"], 143, "{seen:#}");
}

#[test]
fn one_zookeeper_answers_keeps_its_data_and_stops_by_itself() {
    let env = world!();
    needs!("zkServer.sh", "python3", "bash");
    env.write("zk.py", CLIENT);
    env.stack("[service.zk]\nuse = \"zookeeper\"\nwith = { memory = \"64m\" }\n");
    env.up();
    assert_eq!(says(&env, "echo \"$ZK_URL\""), "zookeeper://zk:2181");
    assert_eq!(says(&env, &zk("zk", "create /name ada")), "/name");
    kill_and_start(&env, "zk-1");
    assert_eq!(says(&env, &zk("zk-1", "get /name")), "ada");
    stops_by_itself(&env, "zk-1");
}

#[test]
fn three_zookeepers_outlive_the_loss_of_one() {
    let env = world!();
    needs!("zkServer.sh", "python3", "bash");
    env.write("zk.py", CLIENT);
    env.stack("[service.zk]\nuse = \"zookeeper\"\nwith = { memory = \"64m\" }\nreplicas = 3\n");
    env.up();
    let mode =
        |n: u8| format!("bash -c 'exec 3<>/dev/tcp/zk-{n}/2181; echo srvr >&3; sed -n \"s/^Mode: //p\" <&3'");
    let modes: Vec<_> = [1, 2, 3].map(|n| says(&env, &mode(n))).to_vec();
    assert_eq!(modes.iter().filter(|one| *one == "leader").count(), 1, "{modes:?}");
    assert_eq!(modes.iter().filter(|one| *one == "follower").count(), 2, "{modes:?}");
    assert_eq!(says(&env, &zk("zk-1", "create /name ada")), "/name");
    let leader = 1 + modes.iter().position(|one| one == "leader").unwrap();
    let other = if leader == 1 { 2 } else { 1 };
    env.run(&format!("kill zk-{leader}")).ok();
    until(&env, &zk(&format!("zk-{other}"), "create /after it"));
    env.run(&format!("start zk-{leader}")).ok();
    // What it missed it is told before it serves.
    assert_eq!(says(&env, &zk(&format!("zk-{leader}"), "get /after")), "it");
    assert_eq!(says(&env, &zk(&format!("zk-{leader}"), "get /name")), "ada");
}

#[test]
fn parameters_of_zookeeper_are_checked() {
    let env = world!();
    refused(&env, "zookeeper", "tick = 5", &["`5` does not fit `tick`"]);
    refused(&env, "zookeeper", "memory = \"much\"", &["does not fit `memory`"]);
}
