//! Suites, scheduling and attempts: the library side of `belljar test`.
//!
//! [`Catalogue`] lists the scenarios of a stack, [`select`] takes those that were asked for, the scheduler decides
//! what starts when and never touches a process, and an attempt gives one scenario a session of its own. [`run`]
//! is the loop that feeds the scheduler and writes down what happened; everything that people and programs are
//! shown is a fold of the [`belljar_model::RunEvent`]s it tells.

mod attempt;
mod capture;
mod catalogue;
mod config;
mod dump;
mod error;
mod exports;
mod filter;
mod leases;
mod requires;
mod run;
mod scheduler;
mod select;
#[cfg(test)]
mod testing;

pub use catalogue::{Catalogue, Scenario};
pub use config::{Capabilities, Host, Keep, Options, Random, RunConfig};
pub use error::RunError;
pub use filter::{Filter, FilterError};
pub use leases::SessionLeases;
pub use run::{list, run};
pub use select::{Selection, select};
