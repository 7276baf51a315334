//! The client against a small server over a unix socket, which speaks the protocol as a session does.

mod requests;
mod server;
mod streams;
