//! Plans for either isolation: how services are reached, leased ports, and what only a sealed session can carry out.

use belljar_model::ReplicaName;
use belljar_stack::plan::{Check, Isolation, LeasedPorts};
use belljar_stack::{Context, Plan, PlanError};

use crate::plans::PODS;
use crate::{Everything, context, parse, plan};

/// The plan of a stack in shared isolation: the ports of `leased` and, where it names none, their own.
fn shared(text: &str, leased: &[(&str, &str, u16)]) -> Result<Plan, PlanError> {
    let mut ports = LeasedPorts::default();
    for (replica, port, number) in leased {
        ports.insert(ReplicaName::new(*replica).unwrap(), (*port).to_owned(), *number);
    }
    let context = Context { leased: Some(ports), ..context() };
    parse(text).unwrap_or_else(|faults| panic!("{faults}")).plan(&context, &Everything)
}

#[test]
fn in_shared_isolation_everything_is_at_its_leased_port() {
    let leased = [
        ("db-1", "sql", 20001),
        ("bus-1", "client", 20002),
        ("bus-1", "monitor", 20003),
        ("api-1", "http", 20004),
        ("api-2", "http", 20005),
        ("api-3", "http", 20006),
    ];
    let plan = shared(PODS, &leased).unwrap();
    let api = &plan.services[2];
    assert_eq!(plan.isolation, Isolation::Shared);
    assert_eq!(api.replicas[1].argv, ["podapp", "serve", "--listen", "0.0.0.0:20005"]);
    assert_eq!(api.replicas[1].address.to_string(), "127.0.0.1");
    assert_eq!(api.replicas[1].env["DATABASE_URL"], "postgres://postgres@127.0.0.1:20001/pods");
    assert_eq!(api.replicas[1].env["TMPDIR"], "/state/k3f9-x2ab/tmp/api-2");
    let ready = &api.replicas[2].ready.check;
    assert!(matches!(ready, Check::Http { port: 20006, .. }), "{ready:?}");
    let variables: Vec<_> = plan.command_env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    for expected in [
        "API_HOST=127.0.0.1",
        "API_3_ADDR=127.0.0.1:20006",
        "API_3_PORT=20006",
        "API_3_URL=http://127.0.0.1:20006",
        "BUS_URL=nats://127.0.0.1:20002",
        "DB_ADDR=127.0.0.1:20001",
    ] {
        assert!(variables.iter().any(|one| one == expected), "{expected} is not in {variables:#?}");
    }
    // Three replicas have three ports: none of them is the service's.
    for absent in ["API_PORT=", "API_ADDR=", "API_URL="] {
        assert!(!variables.iter().any(|one| one.starts_with(absent)), "{absent} is in {variables:#?}");
    }
}

#[test]
fn a_replica_knows_where_to_listen() {
    let text = r#"
        [service.api]
        run = "api ${self.bind}:${self.port.http}"
        ports = { http = { port = 80, listen = true } }
    "#;
    assert_eq!(plan(text).unwrap().services[0].replicas[0].argv, ["api", "0.0.0.0:80"]);
    let plan = shared(text, &[("api-1", "http", 20001)]).unwrap();
    assert_eq!(plan.services[0].replicas[0].argv, ["api", "127.0.0.1:20001"]);
    assert!(plan.services[0].ports[0].listen);
    let wishes = parse(text).unwrap().port_wishes();
    assert_eq!(wishes.len(), 1);
    assert_eq!((wishes[0].replica.as_str(), wishes[0].port.as_str()), ("api-1", "http"));
}

#[test]
fn what_only_a_sealed_session_can_do_is_told_before_the_start() {
    let faults = parse(
        r#"
        isolation = "shared"
        filesystem = "overlay"
        home = "private"
        [service.db]
        run = "db ${self.data}"
        volumes = { data = "/var/lib/db" }
        files = { "/etc/db.conf" = "x", "${self.data}/fine.conf" = "x", "${session.dir}/files/fine" = "x" }
        [service.api]
        run = "api"
        replicas = 2
        ports = { http = 80 }
        [service.web]
        run = "web ${api.port.http} ${api.url} ${api-2.url} ${api.host}"
    "#,
    );
    insta::assert_snapshot!(faults.unwrap_err(), @r#"
    error: `filesystem` needs a sealed session
     --> /src/pods/belljar.toml:2:14
      |
    2 | filesystem = "overlay"
      |              ^^^^^^^^^ in shared isolation everything sees the host's files as they are

    error: `home = "private"` needs a sealed session
     --> /src/pods/belljar.toml:3:8
      |
    3 | home = "private"
      |        ^^^^^^^^^ in shared isolation everything sees the host's files as they are

    error: the volume `data` at a path of its own needs a sealed session
     --> /src/pods/belljar.toml:6:20
      |
    6 | volumes = { data = "/var/lib/db" }
      |                    ^^^^^^^^^^^^^ in shared isolation nothing can be shown at another path
      |
      = help: write `volume = true` and pass `${self.data}` to the service

    error: the file `/etc/db.conf` needs a sealed session
     --> /src/pods/belljar.toml:7:11
      |
    7 | files = { "/etc/db.conf" = "x", "${self.data}/fine.conf" = "x", "${session.dir}/files/fine" = "x" }
      |           ^^^^^^^^^^^^^^ in shared isolation a file can only lie in the session's directory
      |
      = help: write `${self.data}/…` or `${session.dir}/files/…`, and tell the service

    error: unknown reference `${api.port.http}`
      --> /src/pods/belljar.toml:13:12
       |
    13 | run = "web ${api.port.http} ${api.url} ${api-2.url} ${api.host}"
       |            ^^^^^^^^^^^^^^^^ in shared isolation every replica of `api` has ports of its own
       |
       = help: name one replica: `${api-1.port.http}`

    error: unknown reference `${api.url}`
      --> /src/pods/belljar.toml:13:29
       |
    13 | run = "web ${api.port.http} ${api.url} ${api-2.url} ${api.host}"
       |                             ^^^^^^^^^^ in shared isolation every replica of `api` has ports of its own
       |
       = help: name one replica: `${api-1.url}`
    "#);
}

#[test]
fn commands_get_what_they_need_to_reach_services() {
    let plan = plan(
        r#"
        [service.my-api]
        run = "a"
        replicas = 2
        ports = { http = 8080, admin = 1 }
        [service.worker]
        run = "w"
        [service.db]
        use = "postgres"
        "#,
    )
    .unwrap();
    let expected = [
        ("DB_1_ADDR", "db-1:5432"),
        ("DB_1_HOST", "db-1"),
        ("DB_1_PORT", "5432"),
        ("DB_1_URL", "postgres://postgres@db-1:5432/postgres"),
        ("DB_ADDR", "db:5432"),
        ("DB_HOST", "db"),
        ("DB_PORT", "5432"),
        ("DB_REPLICAS", "db-1"),
        ("DB_URL", "postgres://postgres@db:5432/postgres"),
        ("MY_API_1_ADDR", "my-api-1:8080"),
        ("MY_API_1_HOST", "my-api-1"),
        ("MY_API_1_PORT", "8080"),
        ("MY_API_1_URL", "http://my-api-1:8080"),
        ("MY_API_2_ADDR", "my-api-2:8080"),
        ("MY_API_2_HOST", "my-api-2"),
        ("MY_API_2_PORT", "8080"),
        ("MY_API_2_URL", "http://my-api-2:8080"),
        ("MY_API_ADDR", "my-api:8080"),
        ("MY_API_HOST", "my-api"),
        ("MY_API_PORT", "8080"),
        ("MY_API_REPLICAS", "my-api-1,my-api-2"),
        ("MY_API_URL", "http://my-api:8080"),
        ("WORKER_1_HOST", "worker-1"),
        ("WORKER_HOST", "worker"),
        ("WORKER_REPLICAS", "worker-1"),
    ];
    let found: Vec<_> =
        plan.command_env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(found, expected);
}
