//! `--isolation`: how tight sessions are to be.

use belljar_stack::plan::Isolation;
use serde::{Deserialize, Serialize};

/// As it is written on a command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Word {
    /// Namespaces of its own
    Sealed,
    /// The host's network, with leased ports
    Shared,
}

#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct IsolationArgs {
    /// How tight the session is, whatever the stack says [default: sealed where this machine can]
    #[arg(long, value_name = "WHICH")]
    pub(crate) isolation: Option<Word>,
}

impl From<Word> for Isolation {
    fn from(word: Word) -> Self {
        match word {
            Word::Sealed => Self::Sealed,
            Word::Shared => Self::Shared,
        }
    }
}

/// What is said where nobody asked for shared isolation and it is all that this machine can do.
pub(crate) fn fallback_note(why: &str) -> String {
    format!(
        "note: sessions cannot be sealed here ({why}), so isolation is shared; `belljar doctor` says what that costs"
    )
}
