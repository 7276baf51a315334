//! MariaDB.

use belljar_e2e::{needs, world};

use super::{kill_and_start, refused, says, sh, stops_with_zero};

#[test]
fn mariadb_answers_keeps_its_data_and_stops_by_itself() {
    let env = world!();
    needs!("mariadbd", "mariadb");
    env.stack(
        "[service.db]\nuse = \"mariadb\"\nwith = { database = \"shop\", user = \"ada\", password = \"s3cret\" }\n\
         [task.migrate]\nshell = \"mariadb -h $HOST -u $LOGIN -p$WORD $NAME -e 'create table t (n int)'\"\n\
         env = { HOST = \"${db.host}\", LOGIN = \"${db.user}\", WORD = \"${db.password}\", NAME = \"${db.database}\" }\n\
         after = [\"db\"]\n",
    );
    // The task is the first to speak to it, as soon as it is ready.
    env.up();
    assert_eq!(says(&env, "echo \"$DB_URL\""), "mysql://ada:s3cret@db:3306/shop");
    let sql = |text: &str| says(&env, &format!("mariadb -h db-1 -u ada -ps3cret shop -NBe '{text}'"));
    sql("insert into t values (1), (2), (3)");
    sh(&env, "mariadb -h db -u ada -pwrong shop -e 'select 1' 2>&1")
        .run()
        .ends_with(1)
        .prints(&["Access denied"]);
    kill_and_start(&env, "db-1");
    assert_eq!(sql("select count(*) from t"), "3");
    assert_eq!(sql("select database(), @@character_set_server"), "shop\tutf8mb4");
    stops_with_zero(&env, "db-1", "mariadbd: Shutdown complete");
    env.run("start db-1").ok();
    assert_eq!(sql("select sum(n) from t"), "6");
}

#[test]
fn parameters_of_mariadb_are_checked() {
    let env = world!();
    refused(&env, "mariadb", "database = \"a`b\"", &["does not fit `database`"]);
    refused(&env, "mariadb", "password = \"it's\"", &["does not fit `password`"]);
    refused(&env, "mariadb", "user = \"\"", &["does not fit `user`"]);
}
