//! `sessions/by-stack/NAME`: a stable name for the newest live session of a stack.
//!
//! Sessions of `up` and `run` have it; attempts of scenarios, which come and go by the hundred, do not. Links are
//! changed within the registry's transactions alone, so that two who change one do it in the order of their
//! sessions, and each in one step. One that a killed host process leaves points to a dead session, until the next
//! session of the stack, or a clean.

use std::io;
use std::path::{Path, PathBuf};

use belljar_model::{SessionId, StackName};
use rusqlite::Transaction;

use crate::error::StoreError;
use crate::registry::Fail;
use crate::rows::{self, Sessions};
use crate::session::{SessionKind, SessionRecord};
use crate::store::{Store, make_dirs, remove_if_there};

/// The directory of the links, beside those of the sessions. It is no id, so no session can have it.
pub(crate) const DIRECTORY: &str = "by-stack";

/// Whether a session of this kind is one that its stack's link may point to.
pub(crate) fn is_linked(kind: Option<SessionKind>) -> bool {
    matches!(kind, Some(SessionKind::Up | SessionKind::Run))
}

impl Store {
    /// Lets the link of a stack point to this session.
    pub(crate) fn link_stack(&self, stack: &StackName, id: &SessionId) -> Result<(), StoreError> {
        let directory = self.by_stack();
        make_dirs(&directory)?;
        let link = directory.join(stack.as_str());
        // What a killed one left is replaced: whoever is here holds the registry's transaction. No stack is called so.
        let prepared = directory.join(".new");
        let point = || {
            remove_if_there(&prepared)?;
            fs_err::os::unix::fs::symlink(Path::new("..").join(id.as_str()), &prepared)?;
            fs_err::rename(&prepared, &link)
        };
        point().map_err(StoreError::unusable(&link, "it cannot be pointed to the newest session"))
    }

    /// Lets the link of a stack point to the newest of its sessions that lives, or to nothing.
    pub(crate) fn relink_stack(&self, transaction: &Transaction<'_>, stack: &StackName) -> Result<(), Fail> {
        let which = Sessions::OfStackNewestFirst(stack.as_str());
        for record in rows::sessions(transaction, crate::schema::CURRENT, self.places(), which)? {
            if is_linked(record.kind) && record.liveness()?.is_live() {
                return Ok(self.link_stack(stack, &record.id)?);
            }
        }
        let link = self.by_stack().join(stack.as_str());
        remove_if_there(&link).map_err(StoreError::unusable(&link, "it cannot be removed"))?;
        // The last one takes the directory along; others are in it where this fails.
        let _ = fs_err::remove_dir(self.by_stack());
        Ok(())
    }

    /// The same for the stack of a session that has ended, or is about to go.
    pub(crate) fn relink_stack_of(
        &self,
        transaction: &Transaction<'_>,
        record: Option<&SessionRecord>,
    ) -> Result<(), Fail> {
        match record {
            Some(record) if is_linked(record.kind) => self.relink_stack(transaction, &record.stack),
            _ => Ok(()),
        }
    }

    /// The same for every stack that has a link.
    pub(crate) fn relink_stacks(&self, transaction: &Transaction<'_>) -> Result<(), Fail> {
        let directory = self.by_stack();
        let entries = match fs_err::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(StoreError::unusable(&directory, "it cannot be listed"))?,
        };
        for entry in entries {
            let entry = entry.map_err(StoreError::unusable(&directory, "it cannot be listed"))?;
            // What is not called as a stack is not ours.
            if let Some(stack) = entry.file_name().to_str().and_then(|name| StackName::new(name).ok()) {
                self.relink_stack(transaction, &stack)?;
            }
        }
        Ok(())
    }

    fn by_stack(&self) -> PathBuf {
        self.sessions_dir().join(DIRECTORY)
    }
}
