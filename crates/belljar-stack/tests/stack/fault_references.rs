//! Faults between the parts of a stack: what refers to what, and what comes after what.

use belljar_stack::{PlanError, RecipeBook, SourceFile, Stack};
use insta::assert_snapshot;

use crate::{Everything, context, faults, parse};

#[test]
fn references_to_nothing() {
    assert_snapshot!(faults(r#"
        [service.db]
        use = "postgres"
        [service.api]
        run = "api --db ${bd.url} --port ${self.port.htpp} --data ${self.data}"
        replicas = 3
        ports = { http = 8080 }
        env = { A = "${db.urll}", B = "${db-2.host}", C = "${migrate.host}", D = "${HOME}", E = "${db.port.}" }
        [task.migrate]
        shell = "echo ${self.index} ${session.ids} ${seeed} ${db.data}"
        [suite.all]
        scenarios = "*"
        env = { A = "${self.name}", B = "${db.index}", C = "${with.user}", D = "${db.host" }
    "#), @r#"
    error: unknown reference `${bd.url}`
     --> /src/pods/belljar.toml:4:17
      |
    4 | run = "api --db ${bd.url} --port ${self.port.htpp} --data ${self.data}"
      |                 ^^^^^^^^^ there is no service `bd`
      |
      = help: did you mean `db`?

    error: unknown reference `${self.port.htpp}`
     --> /src/pods/belljar.toml:4:34
      |
    4 | run = "api --db ${bd.url} --port ${self.port.htpp} --data ${self.data}"
      |                                  ^^^^^^^^^^^^^^^^^ `api` has no port `htpp`
      |
      = help: did you mean `http`?

    error: unknown reference `${self.data}`
     --> /src/pods/belljar.toml:4:59
      |
    4 | run = "api --db ${bd.url} --port ${self.port.htpp} --data ${self.data}"
      |                                                           ^^^^^^^^^^^^ `api` has no volume `data`
      |
      = help: declare it: `volume = true`

    error: unknown reference `${db.urll}`
     --> /src/pods/belljar.toml:7:14
      |
    7 | env = { A = "${db.urll}", B = "${db-2.host}", C = "${migrate.host}", D = "${HOME}", E = "${db.port.}" }
      |              ^^^^^^^^^^ `db` gives no `urll`
      |
      = help: did you mean `url`?

    error: unknown reference `${db-2.host}`
     --> /src/pods/belljar.toml:7:32
      |
    7 | env = { A = "${db.urll}", B = "${db-2.host}", C = "${migrate.host}", D = "${HOME}", E = "${db.port.}" }
      |                                ^^^^^^^^^^^^ `db` has 1 replica

    error: unknown reference `${migrate.host}`
     --> /src/pods/belljar.toml:7:52
      |
    7 | env = { A = "${db.urll}", B = "${db-2.host}", C = "${migrate.host}", D = "${HOME}", E = "${db.port.}" }
      |                                                    ^^^^^^^^^^^^^^^ `migrate` is a task: it has no address and no outputs

    error: unknown reference `${HOME}`
     --> /src/pods/belljar.toml:7:75
      |
    7 | env = { A = "${db.urll}", B = "${db-2.host}", C = "${migrate.host}", D = "${HOME}", E = "${db.port.}" }
      |                                                                           ^^^^^^^ this refers to nothing
      |
      = help: `${env.HOME}` is the host's variable, `$${HOME}` a literal `${HOME}`

    error: unknown reference `${db.port.}`
     --> /src/pods/belljar.toml:7:90
      |
    7 | env = { A = "${db.urll}", B = "${db-2.host}", C = "${migrate.host}", D = "${HOME}", E = "${db.port.}" }
      |                                                                                          ^^^^^^^^^^^ this refers to nothing
      |
      = help: write `${db.host}`, `${db.port.NAME}`, `${db.addr.NAME}` or `${db.url}`

    error: unknown reference `${self.index}`
     --> /src/pods/belljar.toml:9:15
      |
    9 | shell = "echo ${self.index} ${session.ids} ${seeed} ${db.data}"
      |               ^^^^^^^^^^^^^ a task has a name and nothing else: `${self.name}`

    error: unknown reference `${session.ids}`
     --> /src/pods/belljar.toml:9:29
      |
    9 | shell = "echo ${self.index} ${session.ids} ${seeed} ${db.data}"
      |                             ^^^^^^^^^^^^^^ this refers to nothing
      |
      = help: a session has `${session.id}`, `${session.name}` and `${session.dir}`

    error: unknown reference `${seeed}`
     --> /src/pods/belljar.toml:9:44
      |
    9 | shell = "echo ${self.index} ${session.ids} ${seeed} ${db.data}"
      |                                            ^^^^^^^^ this refers to nothing
      |
      = help: did you mean `${seed}`?

    error: unknown reference `${db.data}`
     --> /src/pods/belljar.toml:9:53
      |
    9 | shell = "echo ${self.index} ${session.ids} ${seeed} ${db.data}"
      |                                                     ^^^^^^^^^^ only a replica itself knows its data: `${self.data}`

    error: unknown reference `${self.name}`
      --> /src/pods/belljar.toml:12:14
       |
    12 | env = { A = "${self.name}", B = "${db.index}", C = "${with.user}", D = "${db.host" }
       |              ^^^^^^^^^^^^ a suite is not part of the session

    error: unknown reference `${db.index}`
      --> /src/pods/belljar.toml:12:34
       |
    12 | env = { A = "${self.name}", B = "${db.index}", C = "${with.user}", D = "${db.host" }
       |                                  ^^^^^^^^^^^ only a single replica has an index

    error: unknown reference `${with.user}`
      --> /src/pods/belljar.toml:12:53
       |
    12 | env = { A = "${self.name}", B = "${db.index}", C = "${with.user}", D = "${db.host" }
       |                                                     ^^^^^^^^^^^^ this refers to nothing
       |
       = help: parameters and programs are known inside of recipes alone

    error: a reference without its end
      --> /src/pods/belljar.toml:12:73
       |
    12 | env = { A = "${self.name}", B = "${db.index}", C = "${with.user}", D = "${db.host" }
       |                                                                         ^^^^^^^^^ expected a `}`
       |
       = help: write `$${` for a literal `${`
    "#);
}

#[test]
fn ports_by_name() {
    assert_snapshot!(faults(r#"
        [service.a]
        run = "a"
        ports = { http = 8080, dns = { port = 53, protocol = "udp" } }
        ready = { http = "/", port = "htttp" }
        [service.b]
        run = "b"
        ports = { one = 1, two = 2 }
        ready = { http = "/" }
        [service.c]
        run = "c"
        ready = { tcp = true }
        [service.d]
        run = "d"
        ports = { dns = { port = 53, protocol = "udp" } }
        ready = { tcp = ["dns"] }
    "#), @r#"
    error: `a` has no port `htttp`
     --> /src/pods/belljar.toml:4:30
      |
    4 | ready = { http = "/", port = "htttp" }
      |                              ^^^^^^^ expected the name of a port
      |
      = help: did you mean `http`?

    error: which port of `b` is meant?
     --> /src/pods/belljar.toml:8:9
      |
    8 | ready = { http = "/" }
      |         ^^^^^^^^^^^^^^ expected `port`, the name of a TCP port
      |
      = help: write `port = "NAME"`

    error: `c` has no TCP port
      --> /src/pods/belljar.toml:11:9
       |
    11 | ready = { tcp = true }
       |         ^^^^^^^^^^^^^^ this waits for every one of them

    error: `dns` is a UDP port
      --> /src/pods/belljar.toml:15:18
       |
    15 | ready = { tcp = ["dns"] }
       |                  ^^^^^ nothing tells whether somebody listens there
    "#);
}

#[test]
fn one_port_twice() {
    assert_snapshot!(faults(r#"
        [service.a]
        run = "a"
        ports = { http = 80, web = 80, dns = { port = 80, protocol = "udp" } }
    "#), @r#"
    error: `http` and `web` are the same port
     --> /src/pods/belljar.toml:3:28
      |
    3 | ports = { http = 80, web = 80, dns = { port = 80, protocol = "udp" } }
      |                  --        ^^ a replica can listen on it only once
      |                  |
      |                  the first one
    "#);
}

#[test]
fn a_service_and_a_task_share_a_name() {
    assert_snapshot!(faults(r#"
        [service.api]
        run = "api"
        [task.api]
        run = "api"
    "#), @r#"
    error: `api` is both a service and a task
     --> /src/pods/belljar.toml:3:7
      |
    1 | [service.api]
      |          --- the service
    2 | run = "api"
    3 | [task.api]
      |       ^^^ services and tasks share one space of names
    "#);
}

#[test]
fn cycles_are_shown_whole() {
    assert_snapshot!(faults(r#"
        [service.api]
        run = "api"
        after = ["migrate"]
        [task.migrate]
        run = "migrate"
        after = { db = "started" }
        [service.db]
        run = "db"
        after = ["api"]
    "#), @r#"
    error: a cycle, in which nothing can start first: `api` after `migrate` after `db` after `api`
     --> /src/pods/belljar.toml:3:10
      |
    3 | after = ["migrate"]
      |          ^^^^^^^^^ `api` comes after `migrate`
    ...
    6 | after = { db = "started" }
      |           -- `migrate` comes after `db`
    ...
    9 | after = ["api"]
      |          ----- `db` comes after `api`
      |
      = help: take one of these out of its `after`
    "#);
}

#[test]
fn dependencies_on_nothing_on_itself_and_with_a_wrong_condition() {
    assert_snapshot!(faults(r#"
        [service.db]
        run = "db"
        replicas = 2
        after = ["db"]
        [task.migrate]
        run = "migrate"
        after = ["bd", "db-1"]
        [service.api]
        run = "api"
        after = { migrate = "ready", db = "succeeded" }
        [service.web]
        run = "web"
        after = { api = "raedy" }
    "#), @r#"
    error: `db` comes after itself
     --> /src/pods/belljar.toml:4:10
      |
    4 | after = ["db"]
      |          ^^^^ this can never start

    error: there is no service or task `bd`
     --> /src/pods/belljar.toml:7:10
      |
    7 | after = ["bd", "db-1"]
      |          ^^^^ this depends on nothing
      |
      = help: did you mean `db`?

    error: there is no service or task `db-1`
     --> /src/pods/belljar.toml:7:16
      |
    7 | after = ["bd", "db-1"]
      |                ^^^^^^ this depends on nothing
      |
      = help: did you mean `db`, all of its replicas?

    error: `migrate` is a task, which is never `ready`
      --> /src/pods/belljar.toml:10:21
       |
    10 | after = { migrate = "ready", db = "succeeded" }
       |                     ^^^^^^^ expected `succeeded` or `started`

    error: `db` is a service, which is never `succeeded`
      --> /src/pods/belljar.toml:10:35
       |
    10 | after = { migrate = "ready", db = "succeeded" }
       |                                   ^^^^^^^^^^^ expected `ready` or `started`

    error: `after` cannot be `raedy`
      --> /src/pods/belljar.toml:13:17
       |
    13 | after = { api = "raedy" }
       |                 ^^^^^^^ expected `started`, `ready` or `succeeded`
       |
       = help: did you mean `ready`?
    "#);
}

#[test]
fn there_are_addresses_for_so_many_services_only() {
    let services = |count: u32| {
        let service = |number| format!("[service.s{number}]\nrun = \"s\"\n");
        (0..count).map(service).collect::<Vec<_>>().concat()
    };
    assert_eq!(faults(&services(254)), "nothing is wrong");
    assert_snapshot!(faults(&services(255)), @"
    error: too many services
       --> /src/pods/belljar.toml:509:10
        |
    509 | [service.s254]
        |          ^^^^ a session has addresses for 254 services
    ");
}

#[test]
fn a_variable_of_the_host_that_is_not_set() {
    let stack = parse(
        r#"
        [service.api]
        run = "api"
        env = { TOKEN = "${env.TOKEN}", KEY = "${env.KEY}" }
        "#,
    );
    let error = stack.unwrap().plan(&context(), &Everything).unwrap_err();
    assert_snapshot!(error, @r#"
    error: the variable `KEY` is not set
     --> /src/pods/belljar.toml:3:40
      |
    3 | env = { TOKEN = "${env.TOKEN}", KEY = "${env.KEY}" }
      |                                        ^^^^^^^^^^ needed here
      |
      = help: set it: `KEY=… belljar …`
    "#);
}

#[test]
fn environment_files_that_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    fs_err::write(dir.path().join("bad.env"), "A=1\nthis is no setting\n").unwrap();
    let text = "[service.api]\nrun = \"api\"\nenv_file = [\"bad.env\", \"missing.env\"]\n";
    let source = SourceFile { path: dir.path().join("belljar.toml"), text: text.to_owned() };
    let stack = Stack::parse(&source, &RecipeBook::builtin()).unwrap();
    let error = stack.plan(&context(), &Everything).unwrap_err();
    let shown = error.to_string().replace(&dir.path().display().to_string(), "DIR");
    assert_snapshot!(shown, @r#"
    error: this is not the setting of a variable
     --> DIR/bad.env:2:1
      |
    2 | this is no setting
      | ^^^^^^^^^^^^^^^^^^ expected NAME=value
      |
     ::: DIR/belljar.toml:3:13
      |
    3 | env_file = ["bad.env", "missing.env"]
      |             --------- the file is named here

    error: `missing.env` cannot be read
     --> DIR/belljar.toml:3:24
      |
    3 | env_file = ["bad.env", "missing.env"]
      |                        ^^^^^^^^^^^^^ entity not found
    "#);
}

#[test]
fn programs_can_point_at_a_fault_too() {
    let faults =
        parse("[service.db]\nuse = \"postgres\"\n[service.api]\nrun = \"ü ${db.hots}\"\n").unwrap_err();
    let fault = faults.iter().next().unwrap();
    assert_eq!(fault.file().to_str(), Some("/src/pods/belljar.toml"));
    assert_eq!((fault.line(), fault.column()), (4, 10));
    assert_eq!(fault.message(), "unknown reference `${db.hots}`");
    assert_eq!(fault.help(), Some("did you mean `host`?"));
}

#[test]
fn color_is_only_there_where_it_is_asked_for() {
    let faults = parse("naem = \"pods\"").unwrap_err();
    assert!(!faults.render(false).contains('\u{1b}'));
    assert!(faults.render(true).contains('\u{1b}'));
    assert!(matches!(PlanError::from(faults), PlanError::Faults(_)));
}
