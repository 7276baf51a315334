//! Why a run came to nothing. What goes wrong with one attempt is its outcome, never an error.

use std::io;
use std::path::PathBuf;

use belljar_model::ErrorCode;
use belljar_stack::PlanError;
use belljar_store::StoreError;

use crate::filter::FilterError;

/// A run that did not take place, or could not be written down.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The stack cannot be planned on this machine.
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// A suite's glob is none.
    #[error("suite `{suite}`: `{glob}` is not a glob")]
    Glob {
        suite: String,
        glob: String,
        #[source]
        source: globset::Error,
    },
    /// A directory that may hold scenarios cannot be read.
    #[error("scenarios in `{}` cannot be listed", path.display())]
    Listing {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Something was named that is no suite, no scenario and no file of one.
    #[error("there is no suite or scenario `{given}`")]
    SuiteNotFound {
        given: String,
        /// What may have been meant, the nearest first; else all suites.
        near: Vec<String>,
    },
    /// The suites have no scenario, or the tags and the filter leave none.
    #[error("no scenario was selected")]
    NothingSelected {
        /// How many there would have been.
        of: usize,
        notes: Vec<String>,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What happened cannot be written down.
    #[error("the run cannot be recorded in `{}`", path.display())]
    Record {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl RunError {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Plan(error) => error.code(),
            Self::Filter(_) => ErrorCode::Usage,
            Self::Glob { .. } | Self::Listing { .. } => ErrorCode::StackInvalid,
            Self::SuiteNotFound { .. } => ErrorCode::SuiteNotFound,
            Self::NothingSelected { .. } => ErrorCode::NothingSelected,
            Self::Store(error) => error.code(),
            Self::Record { .. } => ErrorCode::StateDirUnusable,
        }
    }

    /// What may help.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::SuiteNotFound { near, .. } if !near.is_empty() => {
                let names: Vec<_> = near.iter().map(|one| format!("`{one}`")).collect();
                vec![format!("did you mean {}?", names.join(" or "))]
            }
            Self::NothingSelected { of: 0, notes } => notes.clone(),
            Self::NothingSelected { of, .. } => {
                vec![format!("{of} scenarios do not match; `belljar test --list` lists all")]
            }
            _ => Vec::new(),
        }
    }
}
