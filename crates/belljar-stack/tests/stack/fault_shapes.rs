//! Faults of single values: keys, types, names, and what is not carried out.

use insta::assert_snapshot;

use crate::faults;

#[test]
fn syntax() {
    assert_snapshot!(faults("name = \"pods\nhome = host\n[service.api"), @r#"
    error: this is not TOML
     --> /src/pods/belljar.toml:1:13
      |
    1 | name = "pods
      |             ^ invalid basic string, expected `"`

    error: this is not TOML
     --> /src/pods/belljar.toml:2:8
      |
    2 | home = host
      |        ^^^^ string values must be quoted, expected literal string

    error: this is not TOML
     --> /src/pods/belljar.toml:3:13
      |
    3 | [service.api
      |             ^ unclosed table, expected `]`
    "#);
}

#[test]
fn unknown_keys_at_every_level() {
    assert_snapshot!(faults(r#"
        nmae = "pods"
        [service.api]
        run = "api"
        replica = 3
        ports = { http = { prot = 8080, port = 8080 } }
        ready = { http = "/", withn = "5s" }
        stop = { signl = "TERM" }
        [task.migrate]
        run = "migrate"
        input = ["migrations/**"]
        [suite.all]
        scenarios = "scenarios/*"
        tag = ["e2e"]
        requires = { command = ["psql"] }
        color = "red"
    "#), @r#"
    error: a stack has no key `nmae`
     --> /src/pods/belljar.toml:1:1
      |
    1 | nmae = "pods"
      | ^^^^ this key is unknown
      |
      = help: did you mean `name`?

    error: a service has no key `replica`
     --> /src/pods/belljar.toml:4:1
      |
    4 | replica = 3
      | ^^^^^^^ this key is unknown
      |
      = help: did you mean `replicas`?

    error: a port has no key `prot`
     --> /src/pods/belljar.toml:5:20
      |
    5 | ports = { http = { prot = 8080, port = 8080 } }
      |                    ^^^^ this key is unknown
      |
      = help: did you mean `port`?

    error: `ready` has no key `withn`
     --> /src/pods/belljar.toml:6:23
      |
    6 | ready = { http = "/", withn = "5s" }
      |                       ^^^^^ this key is unknown
      |
      = help: did you mean `within`?

    error: `stop` has no key `signl`
     --> /src/pods/belljar.toml:7:10
      |
    7 | stop = { signl = "TERM" }
      |          ^^^^^ this key is unknown
      |
      = help: did you mean `signal`?

    error: a task has no key `input`
      --> /src/pods/belljar.toml:10:1
       |
    10 | input = ["migrations/**"]
       | ^^^^^ this key is unknown
       |
       = help: did you mean `inputs`?

    error: a suite has no key `tag`
      --> /src/pods/belljar.toml:13:1
       |
    13 | tag = ["e2e"]
       | ^^^ this key is unknown
       |
       = help: did you mean `tags`?

    error: `requires` has no key `command`
      --> /src/pods/belljar.toml:14:14
       |
    14 | requires = { command = ["psql"] }
       |              ^^^^^^^ this key is unknown
       |
       = help: did you mean `commands`?

    error: a suite has no key `color`
      --> /src/pods/belljar.toml:15:1
       |
    15 | color = "red"
       | ^^^^^ this key is unknown
       |
       = help: its keys: `scenarios`, `kind`, `tags`, `timeout`, `session`, `retries`, `env`, `exclusive`, `weight`, `requires`, `setup`, `home`
    "#);
}

#[test]
fn types() {
    assert_snapshot!(faults(r#"
        name = 7
        service.db = "postgres"
        [service.api]
        run = 8080
        replicas = "three"
        env = { PORT = 8080, HOSTS = ["a"] }
        after = "db"
        [suite.all]
        scenarios = ["a", "b"]
        exclusive = "yes"
    "#), @r#"
    error: an integer does not fit here
     --> /src/pods/belljar.toml:1:8
      |
    1 | name = 7
      |        ^ expected a string: the stack's name
      |
      = help: write "7"

    error: a string does not fit here
     --> /src/pods/belljar.toml:2:14
      |
    2 | service.db = "postgres"
      |              ^^^^^^^^^^ expected a table, as in `[service.NAME]`

    error: an integer does not fit here
     --> /src/pods/belljar.toml:4:7
      |
    4 | run = 8080
      |       ^^^^ expected a string or a list of strings: a program and its arguments
      |
      = help: write "8080"

    error: a string does not fit here
     --> /src/pods/belljar.toml:5:12
      |
    5 | replicas = "three"
      |            ^^^^^^^ expected a whole number from 1 to 200

    error: an integer does not fit here
     --> /src/pods/belljar.toml:6:16
      |
    6 | env = { PORT = 8080, HOSTS = ["a"] }
      |                ^^^^ expected a string
      |
      = help: write "8080"

    error: a list does not fit here
     --> /src/pods/belljar.toml:6:30
      |
    6 | env = { PORT = 8080, HOSTS = ["a"] }
      |                              ^^^^^ expected a string

    error: a string does not fit here
     --> /src/pods/belljar.toml:7:9
      |
    7 | after = "db"
      |         ^^^^ expected a list of names, or a table such as { db = "started" }

    error: a list does not fit here
     --> /src/pods/belljar.toml:9:13
      |
    9 | scenarios = ["a", "b"]
      |             ^^^^^^^^^^ expected a string: a glob of files

    error: a string does not fit here
      --> /src/pods/belljar.toml:10:13
       |
    10 | exclusive = "yes"
       |             ^^^^^ expected true or false
    "#);
}

#[test]
fn names() {
    assert_snapshot!(faults(r#"
        name = "My Pods"
        [service.Api]
        run = "api"
        [service.api-2]
        run = "api"
        [service.session]
        run = "api"
        [service.web]
        run = "web"
        ports = { "web port" = 80 }
        env = { "A=B" = "x" }
        [task.Migrate]
        run = "migrate"
        [suite."a::b"]
        scenarios = "*"
    "#), @r#"
    error: `My Pods` is not a stack name
     --> /src/pods/belljar.toml:1:8
      |
    1 | name = "My Pods"
      |        ^^^^^^^^^ a name is 1 to 40 of a-z0-9-, and starts and ends with a letter or digit

    error: `Api` is not a service name
     --> /src/pods/belljar.toml:2:10
      |
    2 | [service.Api]
      |          ^^^ a name is 1 to 40 of a-z0-9-, starts with a letter, ends with a letter or digit, and does not end in `-` and a number

    error: `api-2` is not a service name
     --> /src/pods/belljar.toml:4:10
      |
    4 | [service.api-2]
      |          ^^^^^ a name is 1 to 40 of a-z0-9-, starts with a letter, ends with a letter or digit, and does not end in `-` and a number

    error: no service can be called `session`
     --> /src/pods/belljar.toml:6:10
      |
    6 | [service.session]
      |          ^^^^^^^ `session` has a meaning of its own in references or in networks

    error: `web port` is not the name of a port
      --> /src/pods/belljar.toml:10:11
       |
    10 | ports = { "web port" = 80 }
       |           ^^^^^^^^^^ expected a-z0-9, - and _

    error: `A=B` is not the name of a variable
      --> /src/pods/belljar.toml:11:9
       |
    11 | env = { "A=B" = "x" }
       |         ^^^^^ expected at least one character, and no `=`

    error: `Migrate` is not a task name
      --> /src/pods/belljar.toml:12:7
       |
    12 | [task.Migrate]
       |       ^^^^^^^ a name is 1 to 40 of a-z0-9-, starts with a letter, ends with a letter or digit, and does not end in `-` and a number

    error: `a::b` is not a suite name
      --> /src/pods/belljar.toml:14:8
       |
    14 | [suite."a::b"]
       |        ^^^^^^ a name is 1 to 40 of a-z0-9-, and starts and ends with a letter or digit
    "#);
}

#[test]
fn durations_and_signals() {
    assert_snapshot!(faults(r#"
        [service.api]
        run = "api"
        ports = { http = 8080 }
        ready = { tcp = true, within = "20", stable = "1 s" }
        stop = { signal = "TREM", within = "soon" }
        [task.migrate]
        run = "migrate"
        timeout = "0s"
        [suite.all]
        scenarios = "*"
        timeout = 60
    "#), @r#"
    error: `20` is not a duration
     --> /src/pods/belljar.toml:4:32
      |
    4 | ready = { tcp = true, within = "20", stable = "1 s" }
      |                                ^^^^ expected a number and one of ms, s, m, h, d, as in `250ms` or `10s`

    error: `1 s` is not a duration
     --> /src/pods/belljar.toml:4:47
      |
    4 | ready = { tcp = true, within = "20", stable = "1 s" }
      |                                               ^^^^^ expected a number and one of ms, s, m, h, d, as in `250ms` or `10s`

    error: `TREM` is not a signal
     --> /src/pods/belljar.toml:5:19
      |
    5 | stop = { signal = "TREM", within = "soon" }
      |                   ^^^^^^ this signal is unknown
      |
      = help: did you mean `TERM`?

    error: `soon` is not a duration
     --> /src/pods/belljar.toml:5:36
      |
    5 | stop = { signal = "TREM", within = "soon" }
      |                                    ^^^^^^ expected a number and one of ms, s, m, h, d, as in `250ms` or `10s`

    error: this leaves no time at all
     --> /src/pods/belljar.toml:8:11
      |
    8 | timeout = "0s"
      |           ^^^^ expected more than 0s

    error: an integer does not fit here
      --> /src/pods/belljar.toml:11:11
       |
    11 | timeout = 60
       |           ^^ expected a duration in quotes, such as "10s"
    "#);
}

#[test]
fn numbers_out_of_range() {
    assert_snapshot!(faults(r#"
        [service.a]
        run = "a"
        replicas = 0
        [service.b]
        run = "b"
        replicas = 201
        ports = { http = 65536, zero = 0 }
        [suite.all]
        scenarios = "*"
        weight = 0
        retries = -1
    "#), @"
    error: 0 is out of range
     --> /src/pods/belljar.toml:3:12
      |
    3 | replicas = 0
      |            ^ expected a whole number from 1 to 200

    error: 201 is out of range
     --> /src/pods/belljar.toml:6:12
      |
    6 | replicas = 201
      |            ^^^ expected a whole number from 1 to 200

    error: 65536 is out of range
     --> /src/pods/belljar.toml:7:18
      |
    7 | ports = { http = 65536, zero = 0 }
      |                  ^^^^^ expected a whole number from 1 to 65535

    error: 0 is out of range
     --> /src/pods/belljar.toml:7:32
      |
    7 | ports = { http = 65536, zero = 0 }
      |                                ^ expected a whole number from 1 to 65535

    error: 0 is out of range
      --> /src/pods/belljar.toml:10:10
       |
    10 | weight = 0
       |          ^ expected a whole number from 1 to 1000

    error: -1 is out of range
      --> /src/pods/belljar.toml:11:11
       |
    11 | retries = -1
       |           ^^ expected a whole number from 0 to 100
    ");
}

#[test]
fn words_of_closed_lists() {
    assert_snapshot!(faults(r#"
        filesystem = "readonly"
        home = "privat"
        [service.api]
        run = "api"
        boot = "serially"
        restart = "on_failure"
        ports = { dns = { port = 53, protocol = "quic" } }
    "#), @r#"
    error: `filesystem` cannot be `readonly`
     --> /src/pods/belljar.toml:1:14
      |
    1 | filesystem = "readonly"
      |              ^^^^^^^^^^ expected `host`, `ro` or `overlay`

    error: `home` cannot be `privat`
     --> /src/pods/belljar.toml:2:8
      |
    2 | home = "privat"
      |        ^^^^^^^^ expected `host` or `private`
      |
      = help: did you mean `private`?

    error: `boot` cannot be `serially`
     --> /src/pods/belljar.toml:5:8
      |
    5 | boot = "serially"
      |        ^^^^^^^^^^ expected `parallel` or `serial`
      |
      = help: did you mean `serial`?

    error: `restart` cannot be `on_failure`
     --> /src/pods/belljar.toml:6:11
      |
    6 | restart = "on_failure"
      |           ^^^^^^^^^^^^ expected `never`, `on-failure` or `always`
      |
      = help: did you mean `on-failure`?

    error: `protocol` cannot be `quic`
     --> /src/pods/belljar.toml:7:41
      |
    7 | ports = { dns = { port = 53, protocol = "quic" } }
      |                                         ^^^^^^ expected `tcp` or `udp`
    "#);
}

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
      = help: recipes: `nats`, `postgres`

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
        isolation = "shared"
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
        publish = ["http"]
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

    error: `isolation = "shared"` is not carried out by this version of belljar
     --> /src/pods/belljar.toml:2:13
      |
    2 | isolation = "shared"
      |             ^^^^^^^^ every session is sealed

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

    error: `limits` is not carried out by this version of belljar
     --> /src/pods/belljar.toml:5:1
      |
    5 | limits = { sessions = 4 }
      | ^^^^^^ replicas share the machine's processors and memory without a limit

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
      | ^^^^ `belljar test --until-fail` repeats a scenario as it is

    error: `recipe` is not carried out by this version of belljar
     --> /src/pods/belljar.toml:9:2
      |
    9 | [recipe.mine]
      |  ^^^^^^ write the recipe into `recipes/NAME.toml` beside the stack file

    error: `image` is not carried out by this version of belljar
      --> /src/pods/belljar.toml:12:1
       |
    12 | image = "api:1"
       | ^^^^^ the native backend runs programs of this machine: write `run`, or `use` a recipe

    error: `user` is not carried out by this version of belljar
      --> /src/pods/belljar.toml:13:1
       |
    13 | user = "1000"
       | ^^^^ everything runs as one inner user

    error: `publish` is not carried out by this version of belljar
      --> /src/pods/belljar.toml:14:1
       |
    14 | publish = ["http"]
       | ^^^^^^^ a session's ports are reached from inside it, with `belljar exec` or `run`

    error: `health` is not carried out by this version of belljar
      --> /src/pods/belljar.toml:15:1
       |
    15 | health = { tcp = true }
       | ^^^^^^ a replica is not watched any more once it is ready, except for its death

    error: `limits` is not carried out by this version of belljar
      --> /src/pods/belljar.toml:16:1
       |
    16 | limits = { pids = 200 }
       | ^^^^^^ replicas share the machine's processors and memory without a limit

    error: `files` is not carried out by this version of belljar
      --> /src/pods/belljar.toml:19:1
       |
    19 | files = {}
       | ^^^^^ only services have it; a task gets what it needs through `env`

    error: `kind = "pytest"` is not carried out by this version of belljar
      --> /src/pods/belljar.toml:21:8
       |
    21 | kind = "pytest"
       |        ^^^^^^^^ a suite is a directory of executable files: give their glob as `scenarios`

    error: `path` is not carried out by this version of belljar
      --> /src/pods/belljar.toml:22:1
       |
    22 | path = "tests"
       | ^^^^ a suite is a directory of executable files: give their glob as `scenarios`

    error: `session = "suite"` is not carried out by this version of belljar
      --> /src/pods/belljar.toml:23:11
       |
    23 | session = "suite"
       |           ^^^^^^^ every scenario gets a session of its own

    error: `stack` is not carried out by this version of belljar
      --> /src/pods/belljar.toml:24:1
       |
    24 | stack = {}
       | ^^^^^ every suite of a file runs on the file's own stack

    error: `secrets` is not carried out by this version of belljar
      --> /src/pods/belljar.toml:25:1
       |
    25 | secrets = ["NAME"]
       | ^^^^^^^ pass the value with `env = { NAME = "${env.NAME}" }`; it is then not hidden in logs

    error: `leaks` is not carried out by this version of belljar
      --> /src/pods/belljar.toml:26:1
       |
    26 | leaks = "warn"
       | ^^^^^ a scenario that leaves something behind is always red
    "#);
}
