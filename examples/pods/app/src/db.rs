//! PostgreSQL: one connection, which is replaced when it is lost.

use std::time::Duration;
use std::{pin::pin, sync::Arc};

use thiserror::Error;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Row};

use crate::log::{chain, say};

/// After this a silent database counts as gone.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Error)]
pub(crate) enum DbError {
    #[error("cannot connect to the database")]
    Connect(#[source] tokio_postgres::Error),
    #[error("the database refuses a query")]
    Query(#[source] tokio_postgres::Error),
    #[error("the database does not answer")]
    Silent,
}

/// The database as a pod uses it.
#[derive(Debug)]
pub(crate) struct Db {
    url: String,
    /// Queries of all requests are pipelined over it.
    client: Mutex<Option<Arc<Client>>>,
}

impl Db {
    pub(crate) fn new(url: String) -> Self {
        Self { url, client: Mutex::new(None) }
    }

    pub(crate) async fn query(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, DbError> {
        let client = self.client().await?;
        if let Ok(result) = timeout(PATIENCE, client.query(sql, params)).await {
            return result.map_err(DbError::Query);
        }
        // Whatever became of that connection, the next query shall not wait for it.
        self.client.lock().await.take_if(|current| Arc::ptr_eq(current, &client));
        Err(DbError::Silent)
    }

    /// The first row, if there is one.
    pub(crate) async fn query_opt(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, DbError> {
        Ok(self.query(sql, params).await?.into_iter().next())
    }

    /// A real query: a connection that is open says nothing about the server behind it.
    pub(crate) async fn ping(&self) -> Result<(), DbError> {
        self.query("SELECT 1", &[]).await.map(drop)
    }

    async fn client(&self) -> Result<Arc<Client>, DbError> {
        let mut current = self.client.lock().await;
        if let Some(client) = current.as_ref().filter(|client| !client.is_closed()) {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(connect(&self.url).await?);
        *current = Some(Arc::clone(&client));
        Ok(client)
    }
}

/// Opens a connection and keeps it going in the background until the client is dropped.
pub(crate) async fn connect(url: &str) -> Result<Client, DbError> {
    let mut config: Config = url.parse().map_err(DbError::Connect)?;
    config.connect_timeout(PATIENCE);
    // Packets that vanish in a partition are noticed too, not only connections that are refused.
    config.tcp_user_timeout(PATIENCE);
    let (client, connection) = timeout(PATIENCE, config.connect(NoTls))
        .await
        .map_err(|_| DbError::Silent)?
        .map_err(DbError::Connect)?;
    tokio::spawn(async move {
        if let Err(error) = pin!(connection).await {
            say!("lost the database: {}", chain(&error));
        }
    });
    Ok(client)
}
