//! Faults of single values: keys, types, names, numbers and words.

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
