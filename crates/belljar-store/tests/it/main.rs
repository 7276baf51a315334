//! The state directory as several processes see it.

mod by_stack;
mod cleaning;
mod damage;
mod leases;
mod processes;
mod sessions;
mod support;
