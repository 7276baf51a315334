//! Removing a session by the process that owns it, as soon as it has ended: what an attempt that passed leaves.

use std::ffi::OsStr;

use crate::clean::as_store_error;
use crate::error::StoreError;
use crate::lock;
use crate::remove;
use crate::rows::Table;
use crate::session::OwnedSession;
use crate::store::Store;

impl Store {
    /// Removes a session of this process with all that is left of it: files, record and name. Its processes
    /// have ended already.
    ///
    /// In the order in which [`Store::clean`] goes about it, so that what a process leaves that is killed on
    /// the way is found by the next clean; the lock is held all the time, so that no clean is at it meanwhile.
    pub fn discard_session(&self, session: OwnedSession) -> Result<(), StoreError> {
        let root = session.dir.root();
        if let Some(dir) = remove::open_root(root).map_err(as_store_error)? {
            remove::contents(dir, root, Some(OsStr::new(lock::FILE_NAME))).map_err(as_store_error)?;
        }
        self.registry().write(|transaction| {
            let record = self.record_of(transaction, &session.id)?;
            Table::Sessions.delete(transaction, session.id.as_str())?;
            self.relink_stack_of(transaction, record.as_ref())?;
            self.point_latest_to_newest(transaction)
        })?;
        remove::tree(root).map(drop).map_err(as_store_error)
    }
}
