//! From the text of a stack file to a plan: [`Stack::parse`] checks a file whole and says everything that is
//! wrong with it, each at its place; [`Stack::plan`] then decides addresses, commands and environments for one
//! session. This crate reads the files that it is given, and nothing else.

mod command_env;
mod declare;
mod dependencies;
mod edits;
mod environment;
mod fault;
mod given;
mod isolation;
mod keys;
mod near;
mod order;
mod package;
pub mod plan;
mod planner;
mod planner_ports;
mod programs;
mod read;
mod read_limits;
mod read_ports;
mod read_recipe;
mod read_service;
mod readiness;
mod recipe;
mod reference;
mod resolve;
mod schema;
mod source;
mod stack;
mod walk;

pub use edits::Edits;
pub use fault::{Fault, Faults};
pub use given::Given;
pub use package::{Manager, Package};
pub use plan::{Context, Places, Plan};
pub use programs::{HostPrograms, Programs};
pub use recipe::{Origin, Output, Parameter, ParameterKind, Program, Recipe, RecipeBook};
pub use schema::schema;
pub use source::{SourceFile, locate};
pub use stack::{PlanError, Stack};
