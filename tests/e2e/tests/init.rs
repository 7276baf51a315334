//! `init`: what lies in a directory becomes a stack file that is valid as it is, and that a person likes to read.

use std::os::unix::fs::symlink;

use belljar_e2e::{Output, TestEnv, world};
use belljar_model::ErrorCode;
use insta::assert_snapshot;

/// A project of these files, and what `init` makes of it. The file is valid, and can be drawn.
#[track_caller]
fn init(env: &TestEnv, files: &[(&str, &str)]) -> (Output, String) {
    for (path, text) in files {
        env.write(path, text);
    }
    let output = env.run("init").ok();
    env.run("check").ok();
    env.run("graph --format dot").ok();
    (output, fs_err::read_to_string(env.dir().join("belljar.toml")).unwrap())
}

/// Without the lines that every file begins with.
fn body(text: &str) -> &str {
    text.split_once("\nname = ").expect("every file has a name").1
}

#[test]
fn a_directory_that_says_nothing_gets_an_example() {
    let env = world!();
    let (output, text) = init(&env, &[("README", "hello")]);
    assert_snapshot!(text, @r#"
    # A stack: the servers that a test needs, how they are started, and how one knows that they are ready.
    # `belljar init` wrote this file from what it found here; it is yours now.
    #
    #   belljar check    shows every fault of this file, each at its place
    #   belljar up       starts a session of it; `belljar ps` shows it, `belljar down` ends it
    #   belljar test     runs every scenario below, each in a session of its own
    #
    # Every session has a network of its own, so services keep their usual ports, and no port has to be free.
    name = "project"

    # An example: this directory, served over HTTP.
    # Put your own program in its place; it listens on 0.0.0.0, not on 127.0.0.1.
    [service.web]
    run = "python3 -m http.server ${self.port.http}"
    ports = { http = 8080 }
    # ready = { http = "/health" }    # else it is ready when its ports take connections
    # replicas = 3

    # Tests. Every executable file that the glob matches is one; exit code 0 means that it passed.
    [suite.all]
    scenarios = "scenarios/*"
    timeout = "60s"
    "#);
    assert_snapshot!(output.shown(), @r"
    exit: 0
    --- stdout
    wrote [DIR]/belljar.toml

    found
      nothing that says what the project runs: the file holds an example

    next
      belljar up      start a session, and see whether all of it becomes ready
      belljar graph   draw what the file says
    --- stderr
    ");
    // And the example runs.
    env.run("run -- true").ok();
}

#[test]
fn a_compose_file_becomes_its_stack() {
    let env = world!();
    let compose = r#"
x-env: &env
  LOG_LEVEL: ${LOG_LEVEL:-info}
services:
  postgres:
    image: postgres:16-alpine
    environment:
      POSTGRES_DB: shop
      POSTGRES_PASSWORD: secret
  bus:
    image: docker.io/library/nats:2
    ports: ["4222:4222"]
  mailhog:
    image: mailhog/mailhog
    ports: ["1025", "8025:8025"]
  api:
    build: .
    command: ["bin/shop", "serve", "--title", "two words"]
    environment:
      <<: *env
      DATABASE_URL: postgres://postgres:secret@postgres/shop
      PRICE: "$$5"
      GREETING: hello to everybody who reads this
    ports: ["127.0.0.1:8080:80/tcp", 9090]
    depends_on:
      postgres: { condition: service_healthy }
      mailhog: { condition: service_started }
  worker:
    build: .
    depends_on: [postgres, bus]
"#;
    let (output, text) = init(&env, &[("compose.yaml", compose)]);
    assert_snapshot!(body(&text), @r#"
    "project"

    # In place of the image postgres:16-alpine.
    [service.postgres]
    use = "postgres"
    with = { database = "shop" }

    # In place of the image docker.io/library/nats:2.
    [service.bus]
    use = "nats"

    # The image mailhog/mailhog: no recipe stands in for it. Services are programs of this machine,
    # so say how it is started here, or write a recipe: `belljar recipes` lists those there are.
    # [service.mailhog]
    # run = "…"
    # ports = { p1025 = 1025, http = 8025 }

    # The command of compose.yaml; here it runs as a program of this machine.
    [service.api]
    shell = "exec bin/shop serve --title 'two words'"
    after = ["postgres"]
    ports = { http = 80, p9090 = 9090 }
    # ready = { http = "/health" }    # else it is ready when its ports take connections
    # replicas = 3

    [service.api.env]
    GREETING = "hello to everybody who reads this"
    DATABASE_URL = "${postgres.url}"
    PRICE = "$5"
    LOG_LEVEL = "info"

    # Built from a Dockerfile: say how the program is started on this machine.
    # [service.worker]
    # run = "…"
    # after = ["postgres", "bus"]
    # env = { DATABASE_URL = "${postgres.url}", NATS_URL = "${bus.url}" }

    # Tests. Every executable file that the glob matches is one; exit code 0 means that it passed.
    [suite.all]
    scenarios = "scenarios/*"
    timeout = "60s"
    "#);
    assert_snapshot!(output.shown(), @r"
    exit: 0
    --- stdout
    wrote [DIR]/belljar.toml

    found
      compose.yaml: postgres, bus, mailhog, api, worker

    next
      say in belljar.toml how these are started: mailhog, worker
      belljar up      start a session, and see whether all of it becomes ready
      belljar graph   draw what the file says
    --- stderr
    ");
}

#[test]
fn package_json_becomes_a_service_with_its_servers() {
    let env = world!();
    let package = r#"{
        "name": "@acme/shop-api",
        "scripts": { "start": "node server.js", "db:migrate": "knex migrate:latest", "test": "vitest" },
        "dependencies": { "express": "5", "pg": "8", "nats": "2" }
    }"#;
    let (output, text) = init(&env, &[("package.json", package), ("pnpm-lock.yaml", "")]);
    assert_snapshot!(body(&text), @r#"
    "project"

    # The project uses `pg`; `belljar recipes` lists what else there is.
    [service.db]
    use = "postgres"

    # The project uses `nats`; `belljar recipes` lists what else there is.
    [service.bus]
    use = "nats"

    # The script `db:migrate` of package.json.
    [task.migrate]
    shell = "pnpm run db:migrate"
    after = ["db", "bus"]
    env = { DATABASE_URL = "${db.url}", NATS_URL = "${bus.url}" }

    # From package.json. It is told its port; let it listen on 0.0.0.0.
    [service.shop-api]
    run = "pnpm start"
    after = ["migrate"]
    ports = { http = 3000 }
    env = { PORT = "${self.port.http}", DATABASE_URL = "${db.url}", NATS_URL = "${bus.url}" }
    # ready = { http = "/health" }    # else it is ready when its ports take connections
    # replicas = 3

    # Tests. Every executable file that the glob matches is one; exit code 0 means that it passed.
    [suite.all]
    scenarios = "scenarios/*"
    timeout = "60s"
    "#);
    assert_snapshot!(output.shown(), @r"
    exit: 0
    --- stdout
    wrote [DIR]/belljar.toml

    found
      package.json: `pnpm start`, pg, nats

    next
      pnpm install
      belljar up      start a session, and see whether all of it becomes ready
      belljar graph   draw what the file says
    --- stderr
    ");
}

#[test]
fn a_workspace_of_cargo_becomes_its_programs() {
    let env = world!();
    let files = [
        ("Cargo.toml", "[workspace]\nmembers = [\"crates/*\", \"tools\"]\n"),
        ("crates/api/Cargo.toml", "[package]\nname = \"shop-api\"\n[dependencies]\nsqlx = \"0.8\"\n"),
        ("crates/api/src/main.rs", "fn main() {}"),
        ("crates/model/Cargo.toml", "[package]\nname = \"model\"\n"),
        ("crates/model/src/lib.rs", ""),
        ("tools/Cargo.toml", "[package]\nname = \"tools\"\n[[bin]]\nname = \"seed\"\npath = \"seed.rs\"\n"),
    ];
    let (_, text) = init(&env, &files);
    assert_snapshot!(body(&text), @r#"
    "project"

    # The project uses `sqlx`; `belljar recipes` lists what else there is.
    [service.db]
    use = "postgres"

    # From Cargo.toml. `cargo build` comes first: a session has no way out to crates.io.
    [service.shop-api]
    run = "target/debug/shop-api"
    after = ["db"]
    ports = { http = 8080 }
    env = { PORT = "${self.port.http}", DATABASE_URL = "${db.url}" }
    # ready = { http = "/health" }    # else it is ready when its ports take connections
    # replicas = 3

    # From Cargo.toml. `cargo build` comes first: a session has no way out to crates.io.
    [service.seed-app]
    run = "target/debug/seed"
    after = ["db"]
    ports = { http = 8080 }
    env = { PORT = "${self.port.http}", DATABASE_URL = "${db.url}" }
    # ready = { http = "/health" }    # else it is ready when its ports take connections
    # replicas = 3

    # Tests. Every executable file that the glob matches is one; exit code 0 means that it passed.
    [suite.all]
    scenarios = "scenarios/*"
    timeout = "60s"
    "#);
}

#[test]
fn a_go_module_becomes_its_programs() {
    let env = world!();
    let module =
        "module example.com/acme/shop/v2\n\ngo 1.25\n\nrequire (\n\tgithub.com/jackc/pgx/v5 v5.7.0\n)\n";
    let (_, text) = init(&env, &[("go.mod", module), ("main.go", "package main")]);
    assert_snapshot!(body(&text), @r#"
    "project"

    # The project uses `github.com/jackc/pgx/v5`; `belljar recipes` lists what else there is.
    [service.db]
    use = "postgres"

    # From go.mod. `go build -o bin/ ./...` comes first.
    [service.shop]
    run = "bin/shop"
    after = ["db"]
    ports = { http = 8080 }
    env = { PORT = "${self.port.http}", DATABASE_URL = "${db.url}" }
    # ready = { http = "/health" }    # else it is ready when its ports take connections
    # replicas = 3

    # Tests. Every executable file that the glob matches is one; exit code 0 means that it passed.
    [suite.all]
    scenarios = "scenarios/*"
    timeout = "60s"
    "#);
}

#[test]
fn a_python_project_is_told_by_its_framework() {
    let env = world!();
    let project = "[project]\nname = \"shop\"\ndependencies = [\"fastapi>=0.110\", \"asyncpg[sa]~=0.29\"]\n";
    let (_, text) = init(&env, &[("pyproject.toml", project), ("main.py", ""), ("alembic.ini", "")]);
    assert_snapshot!(body(&text), @r#"
    "project"

    # The project uses `asyncpg`; `belljar recipes` lists what else there is.
    [service.db]
    use = "postgres"

    # Alembic's migrations.
    [task.migrate]
    shell = "alembic upgrade head"
    after = ["db"]
    env = { DATABASE_URL = "${db.url}" }

    # From pyproject.toml.
    [service.shop]
    run = "uvicorn main:app --host 0.0.0.0 --port ${self.port.http}"
    after = ["migrate"]
    ports = { http = 8000 }
    env = { DATABASE_URL = "${db.url}" }
    # ready = { http = "/health" }    # else it is ready when its ports take connections
    # replicas = 3

    # Tests. Every executable file that the glob matches is one; exit code 0 means that it passed.
    [suite.all]
    scenarios = "scenarios/*"
    timeout = "60s"
    "#);
}

#[test]
fn a_procfile_says_best_how_things_are_started() {
    let env = world!();
    let procfile = "web: bin/rails server -p ${PORT:-3000}\n# a comment\nworker: bin/jobs\nrelease: bin/rails db:migrate\n";
    let package = r#"{ "scripts": { "start": "node a.js" }, "dependencies": { "pg": "8" } }"#;
    let (output, text) = init(&env, &[("Procfile", procfile), ("package.json", package)]);
    assert_snapshot!(body(&text), @r#"
    "project"

    # The project uses `pg`; `belljar recipes` lists what else there is.
    [service.db]
    use = "postgres"

    # `release` of the Procfile runs before the others start.
    [task.release]
    shell = "bin/rails db:migrate"
    after = ["db"]
    env = { DATABASE_URL = "${db.url}" }

    # `web` of the Procfile.
    [service.web]
    shell = "exec bin/rails server -p $${PORT:-3000}"
    after = ["release"]
    ports = { http = 8080 }
    env = { PORT = "${self.port.http}", DATABASE_URL = "${db.url}" }
    # ready = { http = "/health" }    # else it is ready when its ports take connections
    # replicas = 3

    # `worker` of the Procfile.
    [service.worker]
    shell = "exec bin/jobs"
    after = ["release"]
    env = { DATABASE_URL = "${db.url}" }
    # replicas = 3

    # Tests. Every executable file that the glob matches is one; exit code 0 means that it passed.
    [suite.all]
    scenarios = "scenarios/*"
    timeout = "60s"
    "#);
    assert_snapshot!(output.shown(), @r"
    exit: 0
    --- stdout
    wrote [DIR]/belljar.toml

    found
      Procfile: web, worker, release
      package.json: `npm start`, pg

    next
      belljar up      start a session, and see whether all of it becomes ready
      belljar graph   draw what the file says
    --- stderr
    ");
}

#[test]
fn names_and_words_that_fit_nowhere_still_make_a_valid_file() {
    let table: &[&[(&str, &str)]] = &[
        &[
            ("package.json", r#"{ "name": "self", "main": "it's \"${odd}\".js" }"#),
            ("it's \"${odd}\".js", ""),
        ],
        &[
            ("package.json", "not json"),
            ("pyproject.toml", "not = = toml"),
            ("Procfile", "no colon\n: none\n"),
        ],
        &[("compose.yaml", "services: [1, 2]\n"), ("Cargo.toml", "[package]\n"), ("go.mod", "")],
        &[(
            "compose.yaml",
            "services:\n  api-1: { command: \"run '\" }\n  API_1: { image: redis-2 }\n  1: {}\n",
        )],
        &[(
            "compose.yaml",
            "services:\n  a: { command: [], depends_on: [a, b, zzz], environment: [\"=x\", \"A\"] }\n",
        )],
        &[("compose.yaml", "a: *nowhere\n"), ("Procfile", "env: true\nwith: ${x}\nlocalhost: 1\n")],
    ];
    for files in table {
        let env = world!();
        init(&env, files);
    }
}

#[test]
fn what_is_there_is_never_overwritten() {
    let env = world!();
    env.write("belljar.toml", "mine");
    assert_snapshot!(env.run("init").shown(), @r"
    exit: 7
    --- stdout
    --- stderr
    error: [DIR]/belljar.toml is there already, and stays as it is
    hint: `belljar init --print` shows what would be written; `belljar check` looks at what is there
    (file-exists)
    ");
    env.run("init --json").json_error(ErrorCode::FileExists);
    fs_err::remove_file(env.dir().join("belljar.toml")).unwrap();
    // A link that leads nowhere is something that is there, too: nothing is written through it.
    symlink(env.root().join("elsewhere"), env.dir().join("belljar.toml")).unwrap();
    env.run("init").ends_with(7);
    assert!(!env.root().join("elsewhere").exists());
}

#[test]
fn print_writes_nothing_and_json_tells_all() {
    let env = world!();
    env.write("Procfile", "web: bin/web\n");
    let printed = env.run("init --print").ok().prints(&["[service.web]", "exec bin/web"]);
    assert!(printed.stderr.contains("Procfile: web"), "{printed}");
    let document = env.run("init --print --json").json();
    assert_eq!(document["text"], printed.stdout);
    assert_eq!(document["written"], false);
    assert_eq!(document["found"][0], "Procfile: web");
    assert!(!env.dir().join("belljar.toml").exists());
    env.write("sub/go.mod", "module x\n");
    env.run("init sub").ok().prints(&["sub/belljar.toml", "go.mod"]);
    env.run("init nowhere").ends_with(2).complains(&["nowhere"]);
}
