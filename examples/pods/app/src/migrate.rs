//! The database's shape: plain SQL files, applied once each, in the order of their names.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::db;
use crate::log::say;

/// Any number that no other program locks in this database.
const LOCK: i64 = 0x0070_6f64_7300;

#[derive(Debug, Error)]
pub(crate) enum MigrateError {
    #[error("cannot reach the database")]
    Connect(#[from] db::DbError),
    #[error("cannot read the migrations in {dir}")]
    Read { dir: PathBuf, source: io::Error },
    #[error("there is no migration in {dir}")]
    Empty { dir: PathBuf },
    #[error("cannot keep the list of migrations")]
    List(#[source] tokio_postgres::Error),
    #[error("migration {version} fails")]
    Apply { version: String, source: tokio_postgres::Error },
}

/// Applies what has not been applied yet. Two runs at once are one after the other: the second finds nothing to do.
pub(crate) async fn run(database_url: &str, dir: &Path) -> Result<(), MigrateError> {
    let migrations = read(dir).map_err(|source| MigrateError::Read { dir: dir.to_owned(), source })?;
    if migrations.is_empty() {
        return Err(MigrateError::Empty { dir: dir.to_owned() });
    }
    let mut client = db::connect(database_url).await?;
    // The lock belongs to the connection, so it is gone when this process is, however it ends.
    client.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await.map_err(MigrateError::List)?;
    client
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations (
                 version    text PRIMARY KEY,
                 applied_at timestamptz NOT NULL DEFAULT now()
             )",
        )
        .await
        .map_err(MigrateError::List)?;
    for (version, sql) in migrations {
        let applied = client
            .query_opt("SELECT FROM schema_migrations WHERE version = $1", &[&version])
            .await
            .map_err(MigrateError::List)?
            .is_some();
        if applied {
            say!("migration {version} is there");
            continue;
        }
        apply(&mut client, &version, &sql)
            .await
            .map_err(|source| MigrateError::Apply { version: version.clone(), source })?;
        say!("migration {version} applied");
    }
    Ok(())
}

/// All of a migration or nothing of it.
async fn apply(
    client: &mut tokio_postgres::Client,
    version: &str,
    sql: &str,
) -> Result<(), tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(sql).await?;
    transaction.execute("INSERT INTO schema_migrations (version) VALUES ($1)", &[&version]).await?;
    transaction.commit().await
}

/// `(version, SQL)` of each file, in order.
fn read(dir: &Path) -> io::Result<Vec<(String, String)>> {
    let mut migrations = Vec::new();
    for entry in fs_err::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sql")
            && let Some(version) = path.file_stem().and_then(|stem| stem.to_str())
        {
            migrations.push((version.to_owned(), fs_err::read_to_string(&path)?));
        }
    }
    migrations.sort();
    Ok(migrations)
}
