//! Redis, alone, with followers, and under sentinels.

use belljar_e2e::{needs, world};

use super::{kill_and_start, refused, says, sh, stops_with_zero, until};

#[test]
fn redis_answers_keeps_its_data_and_stops_by_itself() {
    let env = world!();
    needs!("redis-server", "redis-cli");
    env.stack(
        "[service.cache]\nuse = \"redis\"\nwith = { memory = \"32mb\", policy = \"allkeys-lru\" }\n\
         [service.brief]\nuse = \"redis\"\nwith = { persist = false }\n",
    );
    env.up();
    assert_eq!(says(&env, "redis-cli -u \"$CACHE_URL\" set name ada"), "OK");
    assert_eq!(says(&env, "redis-cli -h cache config get maxmemory | tail -n 1"), "33554432");
    assert_eq!(says(&env, "redis-cli -h cache-1 config get maxmemory-policy | tail -n 1"), "allkeys-lru");
    says(&env, "redis-cli -h brief set name ada");
    kill_and_start(&env, "cache-1");
    kill_and_start(&env, "brief-1");
    assert_eq!(says(&env, "redis-cli -h cache get name"), "ada");
    assert_eq!(says(&env, "redis-cli -h brief get name"), "", "it was asked to forget");
    stops_with_zero(&env, "cache-1", "Redis is now ready to exit, bye bye");
    env.run("start cache-1").ok();
    assert_eq!(says(&env, "redis-cli -h cache get name"), "ada");
}

#[test]
fn sentinels_make_another_redis_the_master() {
    let env = world!();
    needs!("redis-server", "redis-cli");
    env.stack(
        "[service.cache]\nuse = \"redis\"\nwith = { replication = true }\nreplicas = 2\n\
         [service.watch]\nuse = \"redis-sentinel\"\nwith = { master = \"cache\" }\nafter = [\"cache\"]\n",
    );
    env.up();
    // Ready means that the second follows, and that the sentinels could agree.
    assert_eq!(
        says(
            &env,
            "redis-cli -u \"$CACHE_URL\" -h cache-1 set name ada && redis-cli -h cache-1 wait 1 10000"
        ),
        "OK\n1"
    );
    assert_eq!(says(&env, "redis-cli -h cache-1 info replication | grep -c ^slave0:ip=cache-2"), "1");
    until(&env, "[ \"$(redis-cli -h cache-2 get name)\" = ada ]");
    sh(&env, "redis-cli -h cache-2 set name bob 2>&1").run().ok().prints(&["READONLY"]);
    let master = "redis-cli -u \"$WATCH_URL\" sentinel get-master-addr-by-name mymaster | head -n 1";
    assert_eq!(says(&env, master), "cache-1");
    assert!(
        says(&env, "redis-cli -h watch-3 -p 26379 sentinel ckquorum mymaster").starts_with("OK 3 usable")
    );
    env.run("kill cache-1").ok();
    until(
        &env,
        &format!("[ \"$({master})\" = cache-2 ] && [ \"$(redis-cli -h cache-2 set name bob)\" = OK ]"),
    );
    // The first comes back as a follower of the second.
    env.run("start cache-1").ok();
    until(&env, "[ \"$(redis-cli -h cache-1 get name)\" = bob ]");
    until(&env, "redis-cli -h cache-1 role | grep -qx cache-2");
    // They know each other and the master after their death.
    kill_and_start(&env, "watch-1");
    assert_eq!(
        says(&env, "redis-cli -h watch-1 -p 26379 sentinel get-master-addr-by-name mymaster | head -n 1"),
        "cache-2"
    );
    stops_with_zero(&env, "watch-1", "Sentinel is now ready to exit, bye bye");
}

#[test]
fn parameters_of_redis_are_checked() {
    let env = world!();
    refused(&env, "redis", "memory = \"lots\"", &["`lots` does not fit `memory`"]);
    refused(&env, "redis", "policy = \"allkeys-lur\"", &["does not fit `policy`"]);
    refused(&env, "redis", "persist = \"yes\"", &["expected true or false for `persist`"]);
    refused(&env, "redis-sentinel", "master = \"nobody\"", &["there is no service `nobody`"]);
    refused(&env, "redis-sentinel", "master = \"it\", quorum = 0", &["`0` does not fit `quorum`"]);
    env.stack("[service.it]\nuse = \"redis-sentinel\"\n");
    env.run("check").ends_with(3).complains(&["the recipe `redis-sentinel` needs `master`"]);
}
