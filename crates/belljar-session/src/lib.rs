//! The supervisor: the actor that owns one session. It starts, watches, breaks and ends it, and writes down what
//! happened.
//!
//! [`machine`] decides, the driver carries out, a [`backend::Backend`] does it, and the control protocol lets
//! others ask. Everything flows one way: input → machine → effects → backend → reports, which are input again.

pub mod backend;
mod control;
mod driver;
mod edition;
mod editor;
#[doc(hidden)]
pub mod fuzzing;
mod log_reader;
pub mod logs;
pub mod machine;
mod metrics;
mod native;
pub mod openapi;
pub mod ports;
mod ready_fd;
pub mod session;
pub mod shared;
mod terminal;
pub mod timeline;
mod watching;

pub use driver::Handle;
pub use edition::{Edition, EditionError};
pub use native::{Command, CommandError, CommandSpec, network};
pub use session::{Config, LaunchError, NotReady, Session, User, check_limits};
pub use timeline::WallClock;
