//! Sealed sessions on Linux: namespaces, mounts, networks, and the processes that keep them.
//!
//! Three kinds of processes work together:
//!
//! - the **host process**, threaded, unprivileged: it holds a [`Zygote`] and one [`Init`] per session;
//! - the **zygote**, single-threaded, forked first thing in `main`: it owns the user namespace and makes each
//!   session's network and init;
//! - each session's **init**, pid 1 of the session: it makes the file tree, starts processes, reaps, signals.
//!
//! They speak JSON over `SOCK_SEQPACKET` pairs. Whoever is above dies, everything below dies: the end of the
//! socket and the parent-death signal say so to each, and the kernel kills what is in a pid namespace with its
//! pid 1. Everything is made by system calls and netlink; no helper program is run.

#![expect(unsafe_code, reason = "forking, namespaces and mounts are system calls that Rust cannot check")]

mod cgroup;
mod channel;
mod devices;
mod diag;
mod error;
#[doc(hidden)]
pub mod floor;
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod host;
mod identity;
mod init;
mod keeper;
mod kin;
mod limits;
mod machine;
mod mount;
mod netlink;
mod outbox;
mod overlay;
mod pool;
mod probe;
mod processes;
mod proof;
mod protocol;
mod slot;
mod sockets;
mod spawn;
pub mod spec;
mod survey;
mod sys;
mod target;
mod tree;
pub mod warden;
mod watch;
mod writers;
mod zygote;

pub use cgroup::{Groups, LimitError, LimitPlan};
pub use diag::{Listener, is_listening, listener, listeners};
pub use error::{SandboxError, Step};
pub use host::{Init, Zygote};
pub use identity::{Identity, identity, plain_identity};
pub use machine::surroundings;
pub use probe::{Capability, probe, why_not_sealed};
#[doc(hidden)]
pub use proof::{Proof, ProofStep};
pub use protocol::{Answer, Ask, Message, ProcessInfo, Request};
pub use writers::is_open_for_writing;
