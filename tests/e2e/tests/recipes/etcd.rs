//! etcd, alone and as a cluster.

use belljar_e2e::{TestEnv, needs, world};

use super::{kill_and_start, refused, says, until};

fn etcdctl(endpoints: &str, words: &str) -> String {
    format!("ETCDCTL_API=3 etcdctl --endpoints {endpoints} {words}")
}

/// It says so when it ends, and then ends by the signal that it was sent.
#[track_caller]
fn stops_by_itself(env: &TestEnv, replica: &str) {
    env.run(&format!("stop {replica}")).ok();
    assert_eq!(env.replica(replica)["exit"]["signal"], "SIGTERM");
    env.run(&format!("logs {replica}")).ok().prints(&["received terminated signal, shutting down"]);
}

#[test]
fn one_etcd_answers_keeps_its_data_and_tells_its_metrics() {
    let env = world!();
    needs!("etcd", "etcdctl", "curl");
    env.stack("[service.kv]\nuse = \"etcd\"\nwith = { heartbeat = 50 }\n");
    env.up();
    assert_eq!(says(&env, &etcdctl("\"$KV_URL\"", "put name ada")), "OK");
    assert!(says(&env, "curl -fsS http://kv:2381/metrics").contains("\netcd_server_has_leader 1\n"));
    kill_and_start(&env, "kv-1");
    assert_eq!(says(&env, &etcdctl("kv-1:2379", "get --print-value-only name")), "ada");
    stops_by_itself(&env, "kv-1");
    env.run("start kv-1").ok();
    assert_eq!(says(&env, &etcdctl("kv:2379", "get --print-value-only name")), "ada");
}

#[test]
fn three_etcds_outlive_the_loss_of_one() {
    let env = world!();
    needs!("etcd", "etcdctl");
    env.stack(
        "[service.kv]\nuse = \"etcd\"\nreplicas = 3\n\
         [task.put]\nshell = \"ETCDCTL_API=3 etcdctl --endpoints $ALL put name ada\"\n\
         env = { ALL = \"${kv.each.url}\" }\nafter = [\"kv\"]\n",
    );
    env.up();
    let members = says(&env, &etcdctl("kv-2:2379", "member list"));
    assert_eq!(members.lines().filter(|line| line.contains("started")).count(), 3, "{members}");
    assert_eq!(says(&env, &etcdctl("kv-3:2379", "get --print-value-only name")), "ada");
    env.run("kill kv-1").ok();
    until(&env, &etcdctl("kv-2:2379,kv-3:2379", "put name bob"));
    env.run("start kv-1").ok();
    assert_eq!(says(&env, &etcdctl("kv-1:2379", "get --print-value-only name")), "bob");
    stops_by_itself(&env, "kv-2");
}

#[test]
fn parameters_of_etcd_are_checked() {
    let env = world!();
    refused(&env, "etcd", "heartbeat = 1", &["`1` does not fit `heartbeat`"]);
}
