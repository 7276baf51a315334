//! The scenarios of a stack: every executable file that a suite's glob matches.

use std::io;
use std::path::{Component, Path, PathBuf};

use belljar_model::ScenarioName;
use belljar_stack::plan::{Plan, SuitePlan};
use globset::{GlobBuilder, GlobMatcher};

use crate::error::RunError;
use crate::requires::is_executable;

/// Everything that could be run, in the order of the suites and within each of the names.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    /// The names of the stack's suites, those without a scenario too.
    pub suites: Vec<String>,
    pub scenarios: Vec<Scenario>,
    /// What was found and is no scenario, as sentences.
    pub notes: Vec<String>,
}

/// One test case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// Its suite's place in [`Plan::suites`].
    pub suite: usize,
    /// `suite::name`.
    pub name: ScenarioName,
    pub tags: Vec<String>,
    /// The executable file.
    pub path: PathBuf,
}

impl Scenario {
    /// The part before `::`.
    pub fn suite_name(&self) -> &str {
        self.split().0
    }

    /// The part after `::`.
    pub fn short_name(&self) -> &str {
        self.split().1
    }

    fn split(&self) -> (&str, &str) {
        self.name.as_str().split_once("::").expect("checked when the name was made")
    }
}

impl Catalogue {
    /// Looks at the files of every suite.
    pub fn of(plan: &Plan) -> Result<Self, RunError> {
        let mut catalogue = Self::default();
        for (index, suite) in plan.suites.iter().enumerate() {
            catalogue.suites.push(suite.name.clone());
            catalogue.add(index, suite, &plan.dir)?;
        }
        Ok(catalogue)
    }

    fn add(&mut self, index: usize, suite: &SuitePlan, dir: &Path) -> Result<(), RunError> {
        let pattern = Pattern::new(&suite.scenarios).map_err(|source| RunError::Glob {
            suite: suite.name.clone(),
            glob: suite.scenarios.clone(),
            source,
        })?;
        let base = dir.join(&pattern.fixed);
        let mut found = Vec::new();
        pattern.walk(&base, Path::new(""), &mut found)?;
        found.sort_unstable();
        if found.is_empty() {
            self.notes.push(format!("suite `{}`: no file matches `{}`", suite.name, suite.scenarios));
        }
        for relative in found {
            let path = base.join(&relative);
            if !is_executable(&path) {
                self.notes.push(format!("`{}` is not executable, so it is no scenario", path.display()));
                continue;
            }
            match ScenarioName::new(format!("{}::{}", suite.name, relative.display())) {
                Ok(name) => {
                    self.scenarios.push(Scenario { suite: index, name, tags: suite.tags.clone(), path });
                }
                Err(error) => self.notes.push(format!("`{}`: {error}", path.display())),
            }
        }
        Ok(())
    }
}

/// A glob, split into the directory that it starts in and the rest.
#[derive(Debug)]
struct Pattern {
    fixed: PathBuf,
    rest: GlobMatcher,
    /// How deep below the fixed directory a match can lie; `None`: any depth.
    depth: Option<usize>,
    /// Whether names with a leading dot are meant too.
    hidden: bool,
}

impl Pattern {
    fn new(glob: &str) -> Result<Self, globset::Error> {
        let components: Vec<_> = Path::new(glob).components().collect();
        // The last component is a file's name, whether or not it is fixed.
        let fixed_count = components
            .iter()
            .take(components.len().saturating_sub(1))
            .take_while(|one| !has_glob(one))
            .count();
        let fixed = components[..fixed_count].iter().collect();
        let rest: PathBuf = components[fixed_count..].iter().collect();
        let rest = rest.to_string_lossy();
        // Alternatives can be of different depths.
        let any_depth = rest.contains("**") || rest.contains('{');
        Ok(Self {
            fixed,
            rest: GlobBuilder::new(&rest).literal_separator(true).build()?.compile_matcher(),
            depth: (!any_depth).then_some(components.len() - fixed_count),
            hidden: rest.split('/').any(|component| component.starts_with('.')),
        })
    }

    /// Collects the matching files below `base.join(below)`, as paths from `base`.
    fn walk(&self, base: &Path, below: &Path, found: &mut Vec<PathBuf>) -> Result<(), RunError> {
        let dir = base.join(below);
        let entries = match fs_err::read_dir(&dir) {
            Ok(entries) => entries,
            // No directory, no scenario.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(());
            }
            Err(source) => return Err(RunError::Listing { path: dir, source }),
        };
        for entry in entries {
            let listing = |source| RunError::Listing { path: dir.clone(), source };
            let entry = entry.map_err(listing)?;
            let name = entry.file_name();
            if !self.hidden && name.to_string_lossy().starts_with('.') {
                continue;
            }
            let relative = below.join(&name);
            let path = entry.path();
            if !path.is_dir() {
                // Pipes, sockets and links to nothing are nobody's scenarios.
                if path.is_file() && self.rest.is_match(&relative) {
                    found.push(relative);
                }
            } else if self.goes_into(&entry, &relative).map_err(listing)? {
                self.walk(base, &relative, found)?;
            }
        }
        Ok(())
    }

    /// Links to directories are followed where the depth has an end: else they could lead around in circles.
    fn goes_into(&self, entry: &fs_err::DirEntry, relative: &Path) -> io::Result<bool> {
        match self.depth {
            Some(depth) => Ok(relative.components().count() < depth),
            None => Ok(!entry.file_type()?.is_symlink()),
        }
    }
}

fn has_glob(component: &Component<'_>) -> bool {
    component.as_os_str().to_string_lossy().contains(['*', '?', '[', ']', '{', '}', '\\'])
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::Path;

    use super::Catalogue;
    use crate::testing::{plan, suite};

    fn file(dir: &Path, name: &str, mode: u32) {
        let path = dir.join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, "#!/bin/sh\n").unwrap();
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[track_caller]
    fn names(dir: &Path, globs: &[&str]) -> (Vec<String>, Vec<String>) {
        let suites = globs.iter().enumerate().map(|(at, glob)| suite(&format!("s{at}"), glob)).collect();
        let catalogue = Catalogue::of(&plan(dir, suites)).unwrap();
        (catalogue.scenarios.iter().map(|one| one.name.to_string()).collect(), catalogue.notes)
    }

    #[test]
    fn executable_files_are_scenarios_sorted_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        for name in ["b.sh", "a.py", "c"] {
            file(&dir.join("scenarios"), name, 0o755);
        }
        file(dir, "scenarios/lib.sh", 0o644);
        file(dir, "scenarios/.hidden", 0o755);
        file(dir, "scenarios/deep/d", 0o755);
        file(dir, "elsewhere", 0o755);
        symlink("../elsewhere", dir.join("scenarios/link")).unwrap();
        symlink("nowhere", dir.join("scenarios/dangling")).unwrap();

        let (found, notes) = names(dir, &["scenarios/*"]);
        assert_eq!(found, ["s0::a.py", "s0::b.sh", "s0::c", "s0::link"]);
        let lib = dir.join("scenarios/lib.sh");
        assert_eq!(notes, [format!("`{}` is not executable, so it is no scenario", lib.display())]);

        assert_eq!(names(dir, &["scenarios/*/*"]).0, ["s0::deep/d"]);
        assert_eq!(names(dir, &["./scenarios/c", "scenarios/**/d"]).0, ["s0::c", "s1::deep/d"]);
        assert_eq!(names(dir, &["*/{a.py,deep/d}"]).0, ["s0::scenarios/a.py", "s0::scenarios/deep/d"]);
        assert_eq!(names(dir, &["scenarios/.h*"]).0, ["s0::.hidden"]);
    }

    #[test]
    fn links_that_lead_in_circles_end() {
        let dir = tempfile::tempdir().unwrap();
        file(dir.path(), "t/one", 0o755);
        symlink(".", dir.path().join("t/again")).unwrap();
        assert_eq!(names(dir.path(), &["t/**"]).0, ["s0::one"]);
        assert_eq!(names(dir.path(), &["t/*/*"]).0, ["s0::again/one"]);
    }

    #[test]
    fn a_suite_without_a_file_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let (found, notes) = names(dir.path(), &["scenarios/*"]);
        assert_eq!((found.len(), notes), (0, vec!["suite `s0`: no file matches `scenarios/*`".to_owned()]));
    }
}
