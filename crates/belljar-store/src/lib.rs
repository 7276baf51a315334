//! The state directory: which sessions and runs there are, who holds them, and what is left of them.
//!
//! ```text
//! STATE/registry.sqlite        sessions and runs, by name and by id
//! STATE/sessions/ID/           lock, events.jsonl, logs/, volumes/, artifacts/, plan.json, edition.json
//! STATE/runs/RUN/              lock and what the runner writes
//! STATE/sessions/by-stack/NAME a link to the newest live session of a stack
//! STATE/latest                 a link to the newest session
//! ```
//!
//! Two sources of truth with one job each. The *lock* of a session says whether it is alive: its host process
//! holds it, and the kernel drops it whatever way that process ends. The *registry* says everything else. So
//! nothing here ever reads a process table, and a registry that was last written before a SIGKILL still tells
//! the truth.
//!
//! Clocks and random numbers are the caller's: everything that needs them takes them as a value.

pub mod artifacts;
mod by_stack;
mod clean;
mod discard;
mod error;
mod groups;
mod leases;
mod lock;
mod name_wish;
mod registry;
mod remove;
mod rows;
mod run;
mod runtime_dir;
mod schema;
mod session;
mod store;

pub use clean::{CleanFailure, CleanOptions, Cleaned, DEFAULT_RETENTION, GRACE, Removed, RemovedWhat};
pub use error::{RuntimeDirRefusal, StoreError};
pub use name_wish::NameWish;
pub use run::{NewRun, RunDir, RunRecord};
pub use runtime_dir::RuntimeDir;
pub use session::{Liveness, NewSession, OwnedSession, SessionDir, SessionKind, SessionRecord};
pub use store::Store;
