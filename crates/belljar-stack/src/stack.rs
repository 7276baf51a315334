//! A stack: read, checked whole, and ready to be planned.

use std::path::Path;
use std::sync::Arc;

use belljar_model::{ErrorCode, StackName};
use toml::de::DeTable;

use crate::declare::StackDecl;
use crate::edits::{self, Edits};
use crate::fault::Faults;
use crate::given::Given;
use crate::isolation;
use crate::package::Package;
use crate::plan::{Context, Isolation, Plan, PortWish};
use crate::planner::Planner;
use crate::programs::Programs;
use crate::recipe::RecipeBook;
use crate::source::SourceFile;
use crate::walk::Walk;

/// A stack without a fault that could be seen before there is a session. It keeps the places of its values for
/// those that can be seen only then.
#[derive(Debug, Clone)]
pub struct Stack {
    declared: StackDecl,
    given: Given,
}

/// Why a stack cannot be planned for this session on this machine.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Faults that depend on the session: a variable of the host that is not set, a file that is not there.
    #[error(transparent)]
    Faults(#[from] Faults),
    /// A recipe needs a server that is not here.
    #[error("the program `{program}` is not on this machine; looked in {}", searched.join(", "))]
    ServerNotInstalled {
        program: String,
        /// Those that have it.
        packages: Vec<Package>,
        searched: Vec<String>,
    },
}

impl Stack {
    /// Reads one stack file, whose directory is the stack's, and checks it whole.
    pub fn parse(source: &SourceFile, recipes: &RecipeBook) -> Result<Self, Faults> {
        Self::parse_with(source, recipes, &Edits::default())
    }

    /// The same with what was said besides the file.
    pub fn parse_with(source: &SourceFile, recipes: &RecipeBook, edits: &Edits) -> Result<Self, Faults> {
        let source = Arc::new(source.clone());
        let sayings = edits::sayings(edits, &source);
        let mut walk = Walk::new(&source);
        let (mut table, errors) = DeTable::parse_recoverable(&source.text);
        walk.syntax(&errors);
        if !walk.faults.is_empty() {
            return Err(walk.faults.in_order());
        }
        walk.say(&sayings, table.get_mut());
        let top = walk.entries(table.get_ref());
        let given = Given {
            file: (*source).clone(),
            recipes: recipes.own().cloned().collect(),
            edits: edits.clone(),
        };
        let recipes = walk.local_recipes(&top, recipes);
        let mut declared = walk.stack(&top, &recipes);
        for (slot, service) in (1..).zip(&mut declared.services) {
            service.slot = slot;
        }
        walk.override_programs(edits, &mut declared);
        // What no profile asks for now is checked too.
        let whole = Planner::check(&declared);
        walk.choose_profiles(edits, &mut declared);
        let mut faults = walk.faults;
        if whole.is_empty() {
            faults.extend(Planner::check(&declared));
        }
        faults.extend(whole);
        faults.or(Self { declared, given })
    }

    /// What it was read from.
    pub fn given(&self) -> &Given {
        &self.given
    }

    pub fn name(&self) -> &StackName {
        &self.declared.name
    }

    /// The directory of the stack file.
    pub fn dir(&self) -> &Path {
        &self.declared.dir
    }

    /// The stack's shape for whoever only looks at it: names, replicas, ports and dependencies are right; addresses
    /// of programs and values that a session decides are made up.
    pub fn outline(&self) -> Plan {
        Planner::outline(&self.declared)
    }

    /// How tight its sessions are to be, where the file says so.
    pub fn isolation(&self) -> Option<Isolation> {
        self.declared.isolation
    }

    /// The ports that a session in shared isolation needs leases for, before it can be planned.
    pub fn port_wishes(&self) -> Vec<PortWish> {
        isolation::port_wishes(&self.declared)
    }

    /// Decides everything that depends on the session and the machine. `programs` finds the servers that
    /// recipes run.
    pub fn plan(&self, context: &Context, programs: &dyn Programs) -> Result<Plan, PlanError> {
        Planner::plan(&self.declared, context, programs).map_err(|(faults, missing)| match missing {
            Some(missing) => PlanError::ServerNotInstalled {
                program: missing.program,
                packages: missing.packages,
                searched: missing.searched,
            },
            None => PlanError::Faults(faults),
        })
    }
}

impl PlanError {
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Faults(faults) => faults.code(),
            Self::ServerNotInstalled { .. } => ErrorCode::ServerNotInstalled,
        }
    }
}
