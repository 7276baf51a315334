//! Real PostgreSQL and NATS, by their recipes.

use std::time::Duration;

use belljar_e2e::{TestEnv, needs, world};

const POSTGRES: &str = r#"
    [service.db]
    use = "postgres"
    with = { database = "shop" }
"#;

const NATS: &str = r#"
    [service.bus]
    use = "nats"
    with = { jetstream = true }
"#;

/// One statement, its answer without decoration.
#[track_caller]
fn sql(env: &TestEnv, place: &str, statement: &str) -> String {
    let words = place.split_whitespace().chain(["--", "sh", "-c"]);
    let script = format!("psql \"$DB_URL\" -XAtq -v ON_ERROR_STOP=1 -c \"{statement}\"");
    env.belljar(words.chain([script.as_str()])).run().ok().stdout.trim_end().to_owned()
}

#[test]
fn postgres_answers_by_name_with_its_database() {
    let env = world!();
    needs!("postgres", "psql");
    env.stack(POSTGRES);
    env.up();
    assert_eq!(sql(&env, "exec", "select current_database()"), "shop");
    let output = env.run("env --json").json();
    let url = output["env"]["DB_URL"].as_str().unwrap().to_owned();
    assert!(url.starts_with("postgres://") && url.ends_with("/shop"), "{url}");
    env.run("exec -- psql -h db -U postgres -d shop -XAtqc select(1)").ok().prints_exactly("1\n");
    env.run("exec -- psql -h db-1 -p 5432 -U postgres -d shop -XAtqc select(1)").ok().prints_exactly("1\n");
}

#[test]
fn postgres_is_ready_when_up_says_so() {
    let env = world!();
    needs!("postgres", "psql");
    env.stack(POSTGRES);
    // The very first statement after readiness succeeds, each time.
    for _ in 0..3 {
        assert_eq!(sql(&env, "run", "select 40 + 2"), "42");
    }
}

#[test]
fn a_killed_postgres_comes_back_with_its_data() {
    let env = world!();
    needs!("postgres", "psql");
    env.stack(POSTGRES);
    env.up();
    sql(&env, "exec", "create table t (n int); insert into t select generate_series(1, 1000)");
    env.run("kill db-1").ok();
    let down = env.belljar(["exec", "--", "sh", "-c", "psql \"$DB_URL\" -c 'select 1'"]).run();
    assert_ne!(down.code(), 0, "{down}");
    env.run("start db-1").ok();
    assert_eq!(sql(&env, "exec", "select count(*) from t"), "1000");
    env.run("restart db-1").ok();
    assert_eq!(sql(&env, "exec", "select count(*) from t"), "1000");
}

#[test]
fn postgres_stops_cleanly() {
    let env = world!();
    needs!("postgres", "psql");
    env.stack(POSTGRES);
    env.up();
    let output = env.run("stop db-1").ok();
    assert!(output.took < Duration::from_secs(10), "{output}");
    let replica = env.replica("db-1");
    assert_eq!(replica["exit"]["code"], 0, "{replica:#}");
    env.run("logs db-1").ok().prints(&["database system is shut down"]);
    env.run("start db-1").ok();
    let log = env.run("logs db-1").ok().stdout;
    assert!(!log.contains("was not properly shut down"), "{log}");
}

#[test]
fn every_session_has_a_database_of_its_own() {
    let env = world!();
    needs!("postgres", "psql");
    env.stack(POSTGRES);
    env.run("up --name one").ok();
    env.run("up --name two").ok();
    sql(&env, "exec -s one", "create table only_here (n int)");
    assert_eq!(sql(&env, "exec -s one", "select count(*) from pg_tables where tablename = 'only_here'"), "1");
    assert_eq!(sql(&env, "exec -s two", "select count(*) from pg_tables where tablename = 'only_here'"), "0");
    env.run("down --all").ok();
    env.nothing_is_left_within(Duration::from_secs(2));
}

#[test]
fn a_bad_parameter_of_a_recipe_is_a_fault_of_the_stack() {
    let env = world!();
    env.stack("[service.db]\nuse = \"postgres\"\nwith = { database = \"x'; drop\" }\n");
    env.run("check").ends_with(3).complains(&["database", "belljar.toml:3"]);
}

#[test]
fn a_server_that_is_not_installed_is_said_before_the_start() {
    let env = world!();
    env.stack("[service.db]\nuse = \"postgres\"\nwith = { bin = \"/nowhere/at/all\" }\n");
    let output = env.run("up").ends_with(4).complains(&["postgres"]);
    assert_eq!(output.stdout, "");
    env.nothing_is_left_within(Duration::from_secs(1));
}

#[test]
fn nats_answers_by_name_and_has_jetstream() {
    let env = world!();
    needs!("nats-server");
    env.stack(NATS);
    env.up();
    env.run("exec -- {fixture} get http://bus:8222/jsz").ok().prints(&["\"memory\"", "store_dir"]);
    let url = env.run("env --json").json()["env"]["BUS_URL"].as_str().unwrap().to_owned();
    assert!(url.starts_with("nats://"), "{url}");
    // The server speaks first on its own port.
    let hello = "exec 3<>/dev/tcp/bus/4222; read -r -t 5 line <&3; echo \"$line\"";
    env.belljar(["exec", "--", "bash", "-c", hello]).run().ok().prints(&["INFO {", "\"jetstream\":true"]);
}

#[test]
fn a_killed_nats_comes_back_and_stops_cleanly() {
    let env = world!();
    needs!("nats-server");
    env.stack(NATS);
    env.up();
    env.run("kill bus-1").ok();
    env.run("exec -- {fixture} connect bus 4222").ends_with(1);
    env.run("start bus-1").ok();
    env.run("exec -- {fixture} connect bus 4222").ok();
    let output = env.run("stop bus-1").ok();
    assert!(output.took < Duration::from_secs(10), "{output}");
    assert_ne!(env.replica("bus-1")["exit"]["signal"], "SIGKILL");
}

#[test]
fn a_stack_of_both_comes_up_and_goes_down() {
    let env = world!();
    needs!("postgres", "psql", "nats-server");
    env.stack(&format!(
        "{POSTGRES}\n{NATS}\n[task.migrate]\nshell = \"psql \\\"$URL\\\" -XAtqc 'create table t (n int)'\"\nenv = {{ URL = \"${{db.url}}\" }}\nafter = [\"db\"]\n"
    ));
    env.up();
    assert_eq!(sql(&env, "exec", "select count(*) from t"), "0");
    env.run("down").ok();
    env.nothing_is_left_within(Duration::from_secs(1));
}

#[test]
fn killing_the_host_process_takes_real_servers_along() {
    let env = world!();
    needs!("postgres", "nats-server");
    env.stack(&format!("{POSTGRES}{NATS}\n[service.mark]\nrun = \"{{fixture}} stay --tag mark\"\n"));
    env.up();
    let mark = env.process("--tag mark");
    env.ancestors(&mark).pop().unwrap().kill();
    env.nothing_is_left_within(Duration::from_secs(1));
}
