//! A stack as it was given: the texts and what was said besides. It is what a session remembers of its stack.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::edits::Edits;
use crate::fault::Faults;
use crate::recipe::RecipeBook;
use crate::source::SourceFile;
use crate::stack::Stack;

/// Everything that a stack is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Given {
    pub file: SourceFile,
    /// The recipes beside the file.
    pub recipes: Vec<SourceFile>,
    pub edits: Edits,
}

impl Given {
    /// Reads a stack file. Recipes beside it that cannot be read are faults.
    pub fn read(path: &Path, edits: Edits) -> io::Result<Result<Self, Faults>> {
        let text = fs_err::read_to_string(path)?;
        let (recipes, faults) = RecipeBook::sources_in(path.parent().unwrap_or(Path::new("/")));
        let file = SourceFile { path: path.to_owned(), text };
        Ok(faults.or(Self { file, recipes, edits }))
    }

    /// Checks it whole.
    pub fn parse(&self) -> Result<Stack, Faults> {
        let recipes = RecipeBook::of(self.recipes.clone())?;
        Stack::parse_with(&self.file, &recipes, &self.edits)
    }
}
