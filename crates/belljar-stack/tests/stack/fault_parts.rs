//! Faults of whole parts: commands, readiness, recipes, suites, volumes, and what is not carried out.

use insta::assert_snapshot;

use crate::faults;

#[test]
fn run_and_use_together_or_neither() {
    assert_snapshot!(faults(r#"
        [service.both]
        use = "postgres"
        run = "postgres"
        [service.neither]
        replicas = 2
        [service.two]
        run = "a"
        shell = "b"
        [task.nothing]
        timeout = "5s"
    "#), @r#"
    error: both `use` and `run`
     --> /src/pods/belljar.toml:3:1
      |
    2 | use = "postgres"
      | --- the other one
    3 | run = "postgres"
      | ^^^ expected only one of them

    error: a service without anything to run
     --> /src/pods/belljar.toml:4:10
      |
    4 | [service.neither]
      |          ^^^^^^^ expected `run`, `shell` or `use` in this service

    error: both `run` and `shell`
     --> /src/pods/belljar.toml:8:1
      |
    7 | run = "a"
      | --- the other one
    8 | shell = "b"
      | ^^^^^ expected only one of them

    error: a task without anything to run
     --> /src/pods/belljar.toml:9:7
      |
    9 | [task.nothing]
      |       ^^^^^^^ expected `run` or `shell` in this task
    "#);
}

#[test]
fn commands_that_are_none() {
    assert_snapshot!(faults(r#"
        [service.open]
        run = "api --name 'x"
        [service.empty]
        run = ""
        [service.list]
        run = []
    "#), @r#"
    error: this cannot be split into words
     --> /src/pods/belljar.toml:2:7
      |
    2 | run = "api --name 'x"
      |       ^^^^^^^^^^^^^^^ a quote is opened and never closed
      |
      = help: write a list of words, or `shell = "…"` for a script

    error: a command without a program
     --> /src/pods/belljar.toml:4:7
      |
    4 | run = ""
      |       ^^ expected a program and its arguments

    error: a command without a program
     --> /src/pods/belljar.toml:6:7
      |
    6 | run = []
      |       ^^ expected a program and its arguments
    "#);
}

#[test]
fn ready_has_exactly_one_kind() {
    assert_snapshot!(faults(r#"
        [service.none]
        run = "a"
        ready = { within = "5s" }
        [service.two]
        run = "a"
        ports = { http = 80 }
        ready = { tcp = "http", http = "/" }
        [service.never]
        run = "a"
        ready = { notify = false }
        [service.status]
        run = "a"
        ready = { log = "up", status = 200 }
    "#), @r#"
    error: `ready` does not say what makes a replica ready
     --> /src/pods/belljar.toml:3:9
      |
    3 | ready = { within = "5s" }
      |         ^^^^^^^^^^^^^^^^^ expected `tcp`, `http`, `exec`, `log`, `notify`, `file` or `socket`

    error: `ready` has more than one kind
     --> /src/pods/belljar.toml:7:25
      |
    7 | ready = { tcp = "http", http = "/" }
      |           ---           ^^^^ expected exactly one
      |           |
      |           the first one

    error: `false` checks nothing
      --> /src/pods/belljar.toml:10:20
       |
    10 | ready = { notify = false }
       |                    ^^^^^ expected true, or another kind of check

    error: `status` without `http`
      --> /src/pods/belljar.toml:13:23
       |
    13 | ready = { log = "up", status = 200 }
       |                       ^^^^^^ only an HTTP check has it
    "#);
}

#[test]
fn regular_expressions() {
    assert_snapshot!(faults(r#"
        [service.a]
        run = "a"
        ready = { log = "ready (in" }
        [service.b]
        run = "b"
        ports = { http = 80 }
        ready = { http = "health", body = "[" }
    "#), @r#"
    error: this is not a regular expression
     --> /src/pods/belljar.toml:3:17
      |
    3 | ready = { log = "ready (in" }
      |                 ^^^^^^^^^^^ unclosed group

    error: the path of a request starts with `/`
     --> /src/pods/belljar.toml:7:18
      |
    7 | ready = { http = "health", body = "[" }
      |                  ^^^^^^^^ expected a path such as "/health"

    error: this is not a regular expression
     --> /src/pods/belljar.toml:7:35
      |
    7 | ready = { http = "health", body = "[" }
      |                                   ^^^ unclosed character class
    "#);
}

#[test]
fn recipes() {
    assert_snapshot!(faults(r#"
        [service.db]
        use = "postgress"
        [service.cache]
        use = "mysql"
        [service.db-b]
        use = "postgres"
        with = { databse = "pods", user = "Ada Lovelace", version = 15 }
        [service.bus]
        use = "nats"
        with = { jetstream = "yes" }
        [service.api]
        run = "api"
        with = { database = "pods" }
        [service.late]
        use = "postgres"
        with = { database = "${session.name}" }
    "#), @r#"
    error: there is no recipe `postgress`
     --> /src/pods/belljar.toml:2:7
      |
    2 | use = "postgress"
      |       ^^^^^^^^^^^ this recipe is unknown
      |
      = help: did you mean `postgres`?

    error: there is no recipe `mysql`
     --> /src/pods/belljar.toml:4:7
      |
    4 | use = "mysql"
      |       ^^^^^^^ this recipe is unknown
      |
      = help: recipes: `anvil`, `etcd`, `haproxy`, `mariadb`, `mosquitto`, `nats`, `nginx`, `postgres`, `rabbitmq`, `redis`, `redis-sentinel`, `zookeeper`

    error: the recipe `postgres` has no parameter `databse`
     --> /src/pods/belljar.toml:7:10
      |
    7 | with = { databse = "pods", user = "Ada Lovelace", version = 15 }
      |          ^^^^^^^ this parameter is unknown
      |
      = help: did you mean `database`?

    error: `Ada Lovelace` does not fit `user`
     --> /src/pods/belljar.toml:7:35
      |
    7 | with = { databse = "pods", user = "Ada Lovelace", version = 15 }
      |                                   ^^^^^^^^^^^^^^ expected a text that matches `[a-z_][a-z0-9_]{0,62}`
      |
      = help: the superuser, who needs no password

    error: an integer does not fit here
     --> /src/pods/belljar.toml:7:61
      |
    7 | with = { databse = "pods", user = "Ada Lovelace", version = 15 }
      |                                                             ^^ expected a string for `version`
      |
      = help: write "15"

    error: a string does not fit here
      --> /src/pods/belljar.toml:10:22
       |
    10 | with = { jetstream = "yes" }
       |                      ^^^^^ expected true or false for `jetstream`

    error: `with` without `use`
      --> /src/pods/belljar.toml:13:1
       |
    13 | with = { database = "pods" }
       | ^^^^ these are the parameters of no recipe

    error: `database` takes no references
      --> /src/pods/belljar.toml:16:21
       |
    16 | with = { database = "${session.name}" }
       |                     ^^^^^^^^^^^^^^^^^ a recipe's parameters are known before any session is
    "#);
}

#[test]
fn suites() {
    assert_snapshot!(faults(r#"
        [suite.empty]
        tags = ["e2e"]
        [suite.outside]
        scenarios = "../other/*"
        [suite.glob]
        scenarios = "scenarios/[a"
    "#), @r#"
    error: a suite without scenarios
     --> /src/pods/belljar.toml:1:8
      |
    1 | [suite.empty]
      |        ^^^^^ this suite has no `scenarios`
      |
      = help: write `scenarios = "scenarios/*"`, a glob of executable files

    error: `../other/*` leaves the stack's directory
     --> /src/pods/belljar.toml:4:13
      |
    4 | scenarios = "../other/*"
      |             ^^^^^^^^^^^^ expected a path below the directory of the stack file

    error: this is not a glob
     --> /src/pods/belljar.toml:6:13
      |
    6 | scenarios = "scenarios/[a"
      |             ^^^^^^^^^^^^^^ unclosed character class; missing ']'
    "#);
}

#[test]
fn volumes_and_files() {
    assert_snapshot!(faults(r#"
        [service.a]
        run = "a"
        volume = true
        volumes = { data = "/data", "my data" = "/x", up = "/var/../etc" }
        files = { "etc/a.conf" = "x", "${self.name}/b.conf" = "x", "${session.dir}/c.conf" = "x" }
    "#), @r#"
    error: the volume `data` is declared twice
     --> /src/pods/belljar.toml:4:13
      |
    4 | volumes = { data = "/data", "my data" = "/x", up = "/var/../etc" }
      |             ^^^^ `volume = true` declares it too

    error: `my data` is not the name of a volume
     --> /src/pods/belljar.toml:4:29
      |
    4 | volumes = { data = "/data", "my data" = "/x", up = "/var/../etc" }
      |                             ^^^^^^^^^ expected a-z0-9, - and _

    error: `/var/../etc` is not an absolute path
     --> /src/pods/belljar.toml:4:52
      |
    4 | volumes = { data = "/data", "my data" = "/x", up = "/var/../etc" }
      |                                                    ^^^^^^^^^^^^^ expected a path from `/` on, without `..`

    error: `etc/a.conf` is not an absolute path
     --> /src/pods/belljar.toml:5:11
      |
    5 | files = { "etc/a.conf" = "x", "${self.name}/b.conf" = "x", "${session.dir}/c.conf" = "x" }
      |           ^^^^^^^^^^^^ expected a path from `/` on, without `..`

    error: `${self.name}/b.conf` is not an absolute path
     --> /src/pods/belljar.toml:5:31
      |
    5 | files = { "etc/a.conf" = "x", "${self.name}/b.conf" = "x", "${session.dir}/c.conf" = "x" }
      |                               ^^^^^^^^^^^^^^^^^^^^^ expected a path from `/` on, without `..`
    "#);
}

#[test]
fn what_this_version_does_not_carry_out() {
    assert_snapshot!(faults(r#"
        backend = "docker"
        isolation = "open"
        egress = true
        secrets = ["TOKEN"]
        limits = { sessions = 4 }
        experiment.storage = {}
        branch = {}
        hunt = {}
        [recipe.mine]
        [service.api]
        run = "api"
        image = "api:1"
        user = "1000"
        health = { tcp = true }
        limits = { pids = 200 }
        [task.migrate]
        run = "migrate"
        files = {}
        [suite.api]
        kind = "pytest"
        path = "tests"
        session = "suite"
        stack = {}
        secrets = ["NAME"]
        leaks = "warn"
    "#), @r#"
    error: `backend = "docker"` is not carried out by this version of belljar
     --> /src/pods/belljar.toml:1:11
      |
    1 | backend = "docker"
      |           ^^^^^^^^ replicas run on the native backend, as processes in namespaces of their own

    error: `isolation` cannot be `open`
     --> /src/pods/belljar.toml:2:13
      |
    2 | isolation = "open"
      |             ^^^^^^ expected `sealed` or `shared`

    error: `egress` is not carried out by this version of belljar
     --> /src/pods/belljar.toml:3:1
      |
    3 | egress = true
      | ^^^^^^ a session has no way out to the internet

    error: `secrets` is not carried out by this version of belljar
     --> /src/pods/belljar.toml:4:1
      |
    4 | secrets = ["TOKEN"]
      | ^^^^^^^ pass the value with `env = { NAME = "${env.NAME}" }`; it is then not hidden in logs

    error: `sessions` is not carried out by this version of belljar
     --> /src/pods/belljar.toml:5:12
      |
    5 | limits = { sessions = 4 }
      |            ^^^^^^^^ `belljar test -j` says how many scenarios run at once

    error: `experiment` is not carried out by this version of belljar
     --> /src/pods/belljar.toml:6:1
      |
    6 | experiment.storage = {}
      | ^^^^^^^^^^ one stack is tried in one way at a time

    error: `branch` is not carried out by this version of belljar
     --> /src/pods/belljar.toml:7:1
      |
    7 | branch = {}
      | ^^^^^^ data lives as long as its session

    error: `hunt` is not carried out by this version of belljar
     --> /src/pods/belljar.toml:8:1
      |
    8 | hunt = {}
      | ^^^^ `belljar test --count N` repeats scenarios as they are

    error: a recipe without a summary
     --> /src/pods/belljar.toml:9:9
      |
    9 | [recipe.mine]
      |         ^^^^ expected `summary`, one line

    error: a recipe without a service
     --> /src/pods/belljar.toml:9:9
      |
    9 | [recipe.mine]
      |         ^^^^ expected `[service]`

    error: `image` is not carried out by this version of belljar
      --> /src/pods/belljar.toml:12:1
       |
    12 | image = "api:1"
       | ^^^^^ the native backend runs programs of this machine: write `run`, or `use` a recipe

    error: `user` is not carried out by this version of belljar
      --> /src/pods/belljar.toml:13:1
       |
    13 | user = "1000"
       | ^^^^ everything of a session runs as one inner user; what needs a second uid cannot run

    error: `health` is not carried out by this version of belljar
      --> /src/pods/belljar.toml:14:1
       |
    14 | health = { tcp = true }
       | ^^^^^^ a replica is not watched any more once it is ready, except for its death

    error: `files` is not carried out by this version of belljar
      --> /src/pods/belljar.toml:18:1
       |
    18 | files = {}
       | ^^^^^ only services have it; a task gets what it needs through `env`

    error: `kind = "pytest"` is not carried out by this version of belljar
      --> /src/pods/belljar.toml:20:8
       |
    20 | kind = "pytest"
       |        ^^^^^^^^ a suite is a directory of executable files: give their glob as `scenarios`

    error: `path` is not carried out by this version of belljar
      --> /src/pods/belljar.toml:21:1
       |
    21 | path = "tests"
       | ^^^^ a suite is a directory of executable files: give their glob as `scenarios`

    error: `session = "suite"` is not carried out by this version of belljar
      --> /src/pods/belljar.toml:22:11
       |
    22 | session = "suite"
       |           ^^^^^^^ every scenario gets a session of its own

    error: `stack` is not carried out by this version of belljar
      --> /src/pods/belljar.toml:23:1
       |
    23 | stack = {}
       | ^^^^^ every suite of a file runs on the file's own stack

    error: `secrets` is not carried out by this version of belljar
      --> /src/pods/belljar.toml:24:1
       |
    24 | secrets = ["NAME"]
       | ^^^^^^^ pass the value with `env = { NAME = "${env.NAME}" }`; it is then not hidden in logs

    error: `leaks` is not carried out by this version of belljar
      --> /src/pods/belljar.toml:25:1
       |
    25 | leaks = "warn"
       | ^^^^^ what a scenario leaves behind ends with its session and is not looked for yet
    "#);
}
