//! The control protocol: the bodies that cross it, the frames of a command run through it, and a client.
//!
//! HTTP/1.1 and JSON over a unix socket, under `/v1`. Whatever the command line does to a session goes through
//! it, so whoever speaks it can do the same. The server speaks the same types: [`wire`] for bodies, [`query`]
//! for what stands behind a `?`, [`frame`] for `/v1/exec`.

mod client;
mod connection;
mod error;
mod exec;
pub mod frame;
pub mod query;
mod stream;
pub mod wire;

pub use client::Client;
pub use error::ClientError;
pub use exec::{ExecChannel, ExecReceiver, ExecSender};
pub use query::LogsQuery;
pub use stream::{EventStream, LogStream};
