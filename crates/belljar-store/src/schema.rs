//! The registry's schema, version by version. A fresh registry goes through the same steps as an old one, so
//! there is one schema and not two that should be alike.
//!
//! Changing it: add `schema/NNNN.sql` and its line in [`STEPS`], teach [`crate::rows`] to read registries that are
//! one version older (readers must not migrate), and check a dump of the version before it into `tests/`.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _};

use crate::error::StoreError;
use crate::registry::Fail;

/// Each version with what leads to it from the one before; the first from nothing.
const STEPS: &[(i64, &str)] = &[
    (1, include_str!("schema/0001.sql")),
    (2, include_str!("schema/0002.sql")),
    (3, include_str!("schema/0003.sql")),
];

/// The version that this program writes.
pub(crate) const CURRENT: i64 = STEPS[STEPS.len() - 1].0;

/// The first version whose sessions have `kind` and `control_socket`.
pub(crate) const WITH_KIND: i64 = 2;

/// The first version that has leases of ports.
pub(crate) const WITH_PORTS: i64 = 3;

/// The version of a registry, checked.
pub(crate) fn version(connection: &Connection, path: &Path) -> Result<i64, Fail> {
    let tables: i64 =
        connection
            .query_one("SELECT count(*) FROM sqlite_schema WHERE name = 'meta'", [], |row| row.get(0))?;
    let found: Option<i64> = if tables == 0 {
        None
    } else {
        let query = "SELECT value FROM meta WHERE key = 'schema_version'";
        connection.query_one(query, [], |row| row.get(0)).optional()?
    };
    match found {
        Some(found @ 1..=CURRENT) => Ok(found),
        Some(found) if found > CURRENT => {
            Err(StoreError::StoreTooNew { path: path.to_owned(), found, known: CURRENT }.into())
        }
        _ => Err(StoreError::corrupt(path, "it has no schema version").into()),
    }
}

/// Brings a registry of version `from` (0 where it is empty) to the current one, within the caller's
/// transaction.
pub(crate) fn migrate(connection: &Connection, from: i64) -> Result<(), Fail> {
    for &(version, step) in STEPS {
        if version > from {
            connection.execute_batch(step)?;
        }
    }
    connection
        .execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('schema_version', ?1)", [CURRENT])?;
    Ok(())
}
