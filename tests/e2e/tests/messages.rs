//! What people read when something is wrong, word for word: a change of it is seen here.

use belljar_e2e::world;
use insta::assert_snapshot;

#[test]
fn a_server_that_dies_at_its_start() {
    let env = world!();
    env.stack("[service.api]\nrun = \"{fixture} exit 4 --say no-config-found\"\nports = { http = 80 }\n");
    assert_snapshot!(env.run("up").shown(), @r"
    exit: 5
    --- stdout
    --- stderr
    session project of stack project
      api-1 ended: exit code 4
    error: session project: api-1 did not become ready: it ended with exit code 4
    hint: the last lines of api-1:
        no-config-found
    hint: `belljar logs -s ID` shows all that was said
    (session-not-ready)
    ");
}

#[test]
fn a_key_that_is_misspelt() {
    let env = world!();
    env.stack("[service.api]\nrun = \"x\"\nreplica = 3\n");
    assert_snapshot!(env.run("check").shown(), @r"
    exit: 3
    --- stdout
    --- stderr
    error: a service has no key `replica`
     --> [DIR]/belljar.toml:3:1
      |
    3 | replica = 3
      | ^^^^^^^ this key is unknown
      |
      = help: did you mean `replicas`?
    ");
}

#[test]
fn a_name_that_is_taken() {
    let env = world!();
    env.stack("[service.api]\nrun = \"{fixture} stay\"\n");
    env.run("up --name mine").ok();
    assert_snapshot!(env.run("up --name mine").shown(), @r"
    exit: 7
    --- stdout
    --- stderr
    error: session name `mine` is taken by session ID of stack `project` (process PID)
    hint: `belljar ls` shows it; `--name` takes another name
    (session-name-taken)
    ");
}

#[test]
fn a_session_that_is_not_there() {
    let env = world!();
    env.stack("[service.api]\nrun = \"x\"\n");
    assert_snapshot!(env.run("ps -s nobody").shown(), @r"
    exit: 6
    --- stdout
    --- stderr
    error: there is no session `nobody`
    hint: `belljar ls --all` lists the sessions there are
    (session-not-found)
    ");
    assert_snapshot!(env.run("ps").shown(), @r"
    exit: 6
    --- stdout
    --- stderr
    error: no session is alive in this directory
    hint: `belljar up` starts one; `belljar ls` lists those of other directories
    (session-not-found)
    ");
}

#[test]
fn a_replica_that_is_not_there() {
    let env = world!();
    env.stack("[service.api]\nrun = \"{fixture} stay\"\nreplicas = 2\n");
    env.up();
    assert_snapshot!(env.run("kill api-3").shown(), @r"
    exit: 6
    --- stdout
    --- stderr
    error: session project has no replica or service `api-3`
    hint: its replicas are api-1, api-2
    (replica-not-found)
    ");
}

#[test]
fn a_wait_that_runs_out() {
    let env = world!();
    env.stack("[service.api]\nrun = \"{fixture} stay\"\n");
    env.up();
    assert_snapshot!(env.run("wait api-1 --for exited --within 100ms").shown(), @r"
    exit: 8
    --- stdout
    --- stderr
    error: waited for exited in vain: api-1 is ready
    (wait-timed-out)
    ");
}

#[test]
fn a_port_of_the_host_that_is_taken() {
    let env = world!();
    let port = 12000 + std::process::id() % 20000;
    let stack = "[service.api]\nrun = \"{fixture} http --port 80\"\nports = { http = 80, admin = 81 }\n\
                 ready = { tcp = \"http\" }\npublish = { http = PORT }\n";
    env.stack(&stack.replace("PORT", &port.to_string()));
    env.up();
    let shown = env.run("up --new").shown().replace(&port.to_string(), "PORT");
    assert_snapshot!(shown, @r#"
    exit: 7
    --- stdout
    --- stderr
    error: port PORT of the host, asked for by `api:http`, is taken: process PID (belljar --state-dir [ROOT]/state __host) listens there
    hint: that is session project (ID): `belljar down ID` ends it
    hint: ask for another number, or for any that is free: `publish = ["http"]`
    (port-taken)
    "#);
    assert_snapshot!(env.run("url api:admin").shown(), @r#"
    exit: 6
    --- stdout
    --- stderr
    error: port `admin` of api is not published on the host
    hint: `publish = ["admin"]` in `[service.api]` does that
    hint: inside of the session it can be reached: `belljar url --inside`, `belljar exec -- CMD`
    (port-not-published)
    "#);
}
