//! The leases of one session, in the store.

use std::error::Error as _;
use std::sync::Arc;

use belljar_model::SessionId;
use belljar_session::shared::{LeaseError, PortLeases};
use belljar_store::Store;

/// Leases ports for a session of the store.
#[derive(Debug)]
pub struct SessionLeases {
    pub store: Arc<Store>,
    pub id: SessionId,
}

impl PortLeases for SessionLeases {
    fn lease(
        &self,
        count: usize,
        candidates: &[u16],
        take: &mut dyn FnMut(usize, u16) -> bool,
    ) -> Result<Vec<u16>, LeaseError> {
        let leased = self.store.lease_ports(&self.id, count, candidates.iter().copied(), take);
        leased.map_err(|error| {
            let mut message = error.to_string();
            let mut source = error.source();
            while let Some(deeper) = source {
                message = format!("{message}: {deeper}");
                source = deeper.source();
            }
            LeaseError { code: error.code(), message }
        })
    }

    fn release(&self, port: u16) {
        // The lease then ends with its session, which is later and no harm.
        let _ = self.store.release_ports(&self.id, &[port]);
    }
}
