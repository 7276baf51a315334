//! What goes through the seal on purpose: published ports and services of the host.

use std::net::Ipv4Addr;

use belljar_stack::plan::{HostPort, Interfaces};
use insta::assert_snapshot;

use crate::{faults, plan};

#[test]
fn every_form_of_publishing_a_port() {
    let plan = plan(
        r#"
        [service.list]
        run = "x"
        ports = { http = 80, sql = 5432 }
        publish = ["http", "sql"]
        [service.numbers]
        run = "x"
        ports = { api = 80, admin = 81 }
        ready = { http = "/health", port = "admin" }
        publish = { admin = 18080, api = { on = "all" } }
        [service.long]
        run = "x"
        ports = { dns = { port = 53, protocol = "udp" }, web = 53 }
        publish = { dns = { port = 10053, on = "loopback" }, web = { port = 10053, on = "all" } }
        [service.bus]
        use = "nats"
        publish = ["monitor", "client"]
        "#,
    )
    .unwrap();
    let published: Vec<_> = plan
        .services
        .iter()
        .flat_map(|service| service.publish.iter().map(move |one| (service, one)))
        .map(|(service, one)| {
            let url = service.url_of(&one.port).unwrap_or_default();
            (one.port.name.clone(), one.port.port, one.fixed, one.on, url)
        })
        .collect();
    let (here, all) = (Interfaces::Loopback, Interfaces::All);
    let expected = [
        ("http", 80, None, here, "http://list:80"),
        ("sql", 5432, None, here, ""),
        ("admin", 81, Some(18080), here, "http://numbers:81"),
        ("api", 80, None, all, ""),
        ("dns", 53, Some(10053), here, ""),
        ("web", 53, Some(10053), all, ""),
        ("monitor", 8222, None, here, "http://bus:8222"),
        ("client", 4222, None, here, "nats://bus:4222"),
    ];
    let expected =
        expected.map(|(name, port, fixed, on, url)| (name.to_owned(), port, fixed, on, url.to_owned()));
    assert_eq!(published, expected);
}

#[test]
fn a_service_of_the_host_has_a_name_an_address_and_one_port() {
    let plan = plan(
        r#"
        [host_services]
        registry = "127.0.0.1:5000"
        mail = { to = "[::1]:2525", port = 25 }
        far = "${env.HOST}.example:443"
        [service.web]
        run = "x ${registry.host} ${registry.port} ${registry.addr} ${mail.addr}"
        "#
        .replace("${env.HOST}", "registry")
        .as_str(),
    )
    .unwrap();
    let [registry, mail, far] = &plan.host_services[..] else { panic!("{:?}", plan.host_services) };
    assert_eq!(registry.address, Some(Ipv4Addr::new(10, 77, 255, 1)));
    assert_eq!((registry.port, registry.target.to_string()), (5000, "127.0.0.1:5000".to_owned()));
    assert_eq!((mail.port, &mail.target), (25, &HostPort { host: "::1".to_owned(), port: 2525 }));
    assert_eq!(mail.target.to_string(), "[::1]:2525");
    assert_eq!(far.target.to_string(), "registry.example:443");
    assert_eq!(plan.services[0].replicas[0].argv[1..], ["registry", "5000", "registry:5000", "mail:25"]);
    assert_eq!(plan.command_env["REGISTRY_HOST"], "registry");
    assert_eq!(plan.command_env["MAIL_PORT"], "25");
}

#[test]
fn a_hosts_address_can_come_from_its_environment() {
    let stack =
        |to: &str| format!("host_services = {{ a = \"{to}\" }}\n[service.b]\nrun = \"x ${{a.addr}}\"\n");
    let told = plan(&stack("${env.PATH}")).unwrap_err().to_string();
    assert!(told.contains("`/usr/bin:/bin` is no address"), "{told}");
    let told = plan(&stack("${env.NOT_SET}:80")).unwrap_err().to_string();
    assert!(told.contains("`NOT_SET` is not set"), "{told}");
}

#[test]
fn what_cannot_be_published() {
    assert_snapshot!(faults(r#"
        [service.a]
        run = "x"
        ports = { http = 80, sql = 5432 }
        publish = ["htpp", "sql", "sql"]
        [service.b]
        run = "x"
        ports = { http = 80, sql = 5432 }
        publish = { http = 18080, sql = 18080 }
        [service.c]
        run = "x"
        ports = { http = 80, sql = 5432 }
        publish = { http = 0, sql = { on = "eth0", prt = 7 } }
        [service.d]
        run = "x"
        ports = { http = 80 }
        publish = "http"
    "#), @r#"
    error: `a` has no port `htpp`
     --> /src/pods/belljar.toml:4:12
      |
    4 | publish = ["htpp", "sql", "sql"]
      |            ^^^^^^ only a port of the service can be published
      |
      = help: did you mean `http`?

    error: `sql` is published twice
     --> /src/pods/belljar.toml:4:27
      |
    4 | publish = ["htpp", "sql", "sql"]
      |                    -----  ^^^^^ expected once
      |                    |
      |                    the first one

    error: port 18080 of the host is asked for twice
     --> /src/pods/belljar.toml:8:33
      |
    8 | publish = { http = 18080, sql = 18080 }
      |                    -----        ^^^^^ only one can have it
      |                    |
      |                    the first one

    error: 0 is out of range
      --> /src/pods/belljar.toml:12:20
       |
    12 | publish = { http = 0, sql = { on = "eth0", prt = 7 } }
       |                    ^ expected a whole number from 1 to 65535

    error: `on` cannot be `eth0`
      --> /src/pods/belljar.toml:12:36
       |
    12 | publish = { http = 0, sql = { on = "eth0", prt = 7 } }
       |                                    ^^^^^^ expected `loopback` or `all`

    error: a published port has no key `prt`
      --> /src/pods/belljar.toml:12:44
       |
    12 | publish = { http = 0, sql = { on = "eth0", prt = 7 } }
       |                                            ^^^ this key is unknown
       |
       = help: did you mean `port`?

    error: a string does not fit here
      --> /src/pods/belljar.toml:16:11
       |
    16 | publish = "http"
       |           ^^^^^^ expected a list of ports such as ["http"], or a table such as { http = 18080 }
    "#);
}

#[test]
fn what_is_no_service_of_the_host() {
    assert_snapshot!(faults(r#"
        [host_services]
        bare = "5000"
        brackets = "::1:5000"
        much = "127.0.0.1:70000"
        lost = { port = 5000 }
        inner = "${web.host}:80"
        web = "127.0.0.1:80"
        self = "127.0.0.1:80"
        web-1 = "127.0.0.1:80"
        cache = "127.0.0.1:6379"
        [service.web]
        run = "x ${cache.port.http} ${cahce.addr}"
    "#), @r#"
    error: `5000` is no address
     --> /src/pods/belljar.toml:2:8
      |
    2 | bare = "5000"
      |        ^^^^^^ not a host and a port, as in `127.0.0.1:5000`, `[::1]:5000` or `registry.example:443`

    error: `::1:5000` is no address
     --> /src/pods/belljar.toml:3:12
      |
    3 | brackets = "::1:5000"
      |            ^^^^^^^^^^ not a host and a port, as in `127.0.0.1:5000`, `[::1]:5000` or `registry.example:443`

    error: `127.0.0.1:70000` is no address
     --> /src/pods/belljar.toml:4:8
      |
    4 | much = "127.0.0.1:70000"
      |        ^^^^^^^^^^^^^^^^^ not a host and a port, as in `127.0.0.1:5000`, `[::1]:5000` or `registry.example:443`

    error: a service of the host without its address
     --> /src/pods/belljar.toml:5:8
      |
    5 | lost = { port = 5000 }
      |        ^^^^^^^^^^^^^^^ expected `to`

    error: `${web.host}` is nothing that the host knows
     --> /src/pods/belljar.toml:6:10
      |
    6 | inner = "${web.host}:80"
      |          ^^^^^^^^^^^ the address is one of the host; it takes `${env.NAME}` alone

    error: `web` is both a service of the host and a service of the stack
      --> /src/pods/belljar.toml:7:1
       |
     7 | web = "127.0.0.1:80"
       | ^^^ one name means one thing in a session
    ...
    11 | [service.web]
       |          --- the service

    error: no service can be called `self`
     --> /src/pods/belljar.toml:8:1
      |
    8 | self = "127.0.0.1:80"
      | ^^^^ `self` has a meaning of its own in references or in networks

    error: `web-1` is not a service name
     --> /src/pods/belljar.toml:9:1
      |
    9 | web-1 = "127.0.0.1:80"
      | ^^^^^ a name is 1 to 40 of a-z0-9-, starts with a letter, ends with a letter or digit, and does not end in `-` and a number

    error: unknown reference `${cache.port.http}`
      --> /src/pods/belljar.toml:12:10
       |
    12 | run = "x ${cache.port.http} ${cahce.addr}"
       |          ^^^^^^^^^^^^^^^^^^ a service of the host has one port, without a name
       |
       = help: write `${cache.host}`, `${cache.port}` or `${cache.addr}`

    error: unknown reference `${cahce.addr}`
      --> /src/pods/belljar.toml:12:29
       |
    12 | run = "x ${cache.port.http} ${cahce.addr}"
       |                             ^^^^^^^^^^^^^ there is no service `cahce`
       |
       = help: did you mean `cache`?
    "#);
}
