//! Leases of the host's ports, for sessions that have no network of their own.
//!
//! A lease is a row and a socket: the row keeps other sessions of this registry away, the socket everybody else.
//! Rows of sessions that are not alive are removed by whoever wants ports next, so a lease cannot outlive the
//! lock of its session.

use belljar_model::SessionId;
use rusqlite::{Transaction, params};

use crate::error::StoreError;
use crate::registry::Fail;
use crate::rows::{self, Sessions};
use crate::schema;
use crate::store::Store;

impl Store {
    /// Leases `count` ports out of `candidates` in one transaction, all or none. A candidate that nobody has is
    /// offered to `take` with the place of the wish (from 0) that it would serve; where it answers `false`,
    /// somebody outside has it and the next one is tried.
    pub fn lease_ports(
        &self,
        id: &SessionId,
        count: usize,
        candidates: impl IntoIterator<Item = u16>,
        mut take: impl FnMut(usize, u16) -> bool,
    ) -> Result<Vec<u16>, StoreError> {
        if count == 0 {
            return Ok(Vec::new());
        }
        self.registry().write(|transaction| {
            self.remove_stale_leases(transaction)?;
            let mut leased = Vec::with_capacity(count);
            let mut is_leased = transaction.prepare("SELECT 1 FROM ports WHERE port = ?1")?;
            let mut insert = transaction.prepare("INSERT INTO ports (port, session) VALUES (?1, ?2)")?;
            for port in candidates {
                if is_leased.exists([port])? || !take(leased.len(), port) {
                    continue;
                }
                insert.execute(params![port, id.as_str()])?;
                leased.push(port);
                if leased.len() == count {
                    return Ok(leased);
                }
            }
            Err(StoreError::NoPortLeft { wanted: count, found: leased.len() }.into())
        })
    }

    /// Gives ports back before the session's end.
    pub fn release_ports(&self, id: &SessionId, ports: &[u16]) -> Result<(), StoreError> {
        self.registry().write(|transaction| {
            for port in ports {
                let delete = "DELETE FROM ports WHERE port = ?1 AND session = ?2";
                transaction.execute(delete, params![port, id.as_str()])?;
            }
            Ok(())
        })
    }

    /// The ports that live sessions have, with whose they are.
    pub fn leased_ports(&self) -> Result<Vec<(u16, SessionId)>, StoreError> {
        let live = self.live_ids()?;
        self.registry().read(|connection, version| {
            if version < schema::WITH_PORTS {
                return Ok(Vec::new());
            }
            let mut query = connection.prepare("SELECT port, session FROM ports ORDER BY port")?;
            let rows = query.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
            let rows: Vec<(u16, String)> = rows.collect::<Result<_, _>>()?;
            let whose = |session: String| live.iter().find(|id| id.as_str() == session).cloned();
            Ok(rows.into_iter().filter_map(|(port, session)| Some((port, whose(session)?))).collect())
        })
    }

    fn live_ids(&self) -> Result<Vec<SessionId>, StoreError> {
        let mut live = Vec::new();
        for record in self.sessions()? {
            if record.liveness()?.is_live() {
                live.push(record.id);
            }
        }
        Ok(live)
    }

    fn remove_stale_leases(&self, transaction: &Transaction<'_>) -> Result<(), Fail> {
        let mut query = transaction.prepare("SELECT DISTINCT session FROM ports")?;
        let holders: Vec<String> = query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        for holder in holders {
            let id: SessionId = holder
                .parse()
                .map_err(|_| StoreError::corrupt(self.registry().path(), "a lease belongs to no session"))?;
            let records = rows::sessions(transaction, schema::CURRENT, self.places(), Sessions::Id(&id))?;
            let mut is_live = false;
            for record in records {
                is_live |= record.liveness()?.is_live();
            }
            if !is_live {
                transaction.execute("DELETE FROM ports WHERE session = ?1", [id.as_str()])?;
            }
        }
        Ok(())
    }
}
