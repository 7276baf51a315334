//! The state directory as several processes see it.

mod cleaning;
mod damage;
mod processes;
mod sessions;
mod support;
