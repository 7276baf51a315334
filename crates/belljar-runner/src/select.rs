//! Which of the scenarios are to be run: by suite, by file, by tag, by filter.

use std::path::Path;

use crate::catalogue::{Catalogue, Scenario};
use crate::error::RunError;
use crate::filter::Filter;

/// What was asked for. Everything, where all of it is empty.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Suites, scenarios as `suite::name`, files of scenarios or directories above them.
    pub named: Vec<String>,
    /// Scenarios that have one of these.
    pub tags: Vec<String>,
    pub filter: Option<Filter>,
}

/// The scenarios that were asked for, in the order of the catalogue. `cwd` is where relative paths start.
pub fn select(catalogue: &Catalogue, selection: &Selection, cwd: &Path) -> Result<Vec<Scenario>, RunError> {
    let mut meant = vec![selection.named.is_empty(); catalogue.scenarios.len()];
    for given in &selection.named {
        let mut any = catalogue.suites.contains(given);
        let path = fs_err::canonicalize(cwd.join(given)).ok();
        for (scenario, meant) in catalogue.scenarios.iter().zip(&mut meant) {
            if is_named(scenario, given, path.as_deref().filter(|_| !catalogue.suites.contains(given))) {
                *meant = true;
                any = true;
            }
        }
        if !any {
            return Err(RunError::SuiteNotFound { given: given.clone(), near: near(catalogue, given) });
        }
    }
    let tagged =
        |one: &Scenario| selection.tags.is_empty() || one.tags.iter().any(|tag| selection.tags.contains(tag));
    let filtered =
        |one: &Scenario| selection.filter.as_ref().is_none_or(|filter| filter.matches(one.name.as_str()));
    let selected: Vec<Scenario> = catalogue
        .scenarios
        .iter()
        .zip(meant)
        .filter(|(one, meant)| *meant && tagged(one) && filtered(one))
        .map(|(one, _)| one.clone())
        .collect();
    if selected.is_empty() {
        return Err(RunError::NothingSelected {
            of: catalogue.scenarios.len(),
            notes: catalogue.notes.clone(),
        });
    }
    Ok(selected)
}

fn is_named(scenario: &Scenario, given: &str, path: Option<&Path>) -> bool {
    let at_path = |path: &Path| {
        let real = fs_err::canonicalize(&scenario.path);
        scenario.path.starts_with(path) || real.is_ok_and(|real| real.starts_with(path))
    };
    scenario.suite_name() == given || scenario.name.as_str() == given || path.is_some_and(at_path)
}

/// What may have been meant, the nearest first; all suites where nothing is near.
fn near(catalogue: &Catalogue, given: &str) -> Vec<String> {
    const ENOUGH: usize = 3;
    let scenarios = catalogue.scenarios.iter().flat_map(|one| [one.name.as_str(), one.short_name()]);
    let mut near: Vec<(usize, &str)> = catalogue
        .suites
        .iter()
        .map(String::as_str)
        .chain(scenarios)
        .map(|one| (strsim::damerau_levenshtein(given, one), one))
        .filter(|(distance, one)| *distance <= (one.chars().count().max(given.chars().count()) / 3).max(1))
        .collect();
    near.sort_unstable();
    near.dedup();
    if near.is_empty() {
        return catalogue.suites.clone();
    }
    // What was typed stands for a scenario: its whole name is what can be typed instead.
    let whole = |short: &str| {
        let scenario = catalogue.scenarios.iter().find(|one| one.short_name() == short);
        match scenario {
            Some(one) if !catalogue.suites.iter().any(|suite| suite == short) => one.name.to_string(),
            _ => short.to_owned(),
        }
    };
    near.into_iter().take(ENOUGH).map(|(_, one)| whole(one)).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use belljar_model::{ErrorCode, ScenarioName};

    use super::{Selection, select};
    use crate::catalogue::{Catalogue, Scenario};
    use crate::error::RunError;
    use crate::filter::Filter;

    fn catalogue(dir: &Path) -> Catalogue {
        let scenario = |suite: usize, name: &str, tag: &str, path: &str| {
            let path = dir.join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(&path, "").unwrap();
            Scenario { suite, name: ScenarioName::new(name).unwrap(), tags: vec![tag.to_owned()], path }
        };
        Catalogue {
            suites: vec!["pods".to_owned(), "api".to_owned(), "empty".to_owned()],
            scenarios: vec![
                scenario(0, "pods::death", "e2e", "scenarios/death"),
                scenario(0, "pods::smoke", "e2e", "scenarios/smoke"),
                scenario(1, "api::login", "fast", "api/login"),
            ],
            notes: Vec::new(),
        }
    }

    fn names(selection: &Selection) -> Result<Vec<String>, RunError> {
        let dir = tempfile::tempdir().unwrap();
        let real = fs_err::canonicalize(dir.path()).unwrap();
        let selected = select(&catalogue(&real), selection, &real.join("scenarios"))?;
        Ok(selected.iter().map(|one| one.name.to_string()).collect())
    }

    fn named(names: &[&str]) -> Selection {
        Selection { named: names.iter().map(|&one| one.to_owned()).collect(), ..Selection::default() }
    }

    #[test]
    fn suites_scenarios_and_files_can_be_named() {
        assert_eq!(names(&named(&[])).unwrap(), ["pods::death", "pods::smoke", "api::login"]);
        assert_eq!(names(&named(&["api", "pods::smoke"])).unwrap(), ["pods::smoke", "api::login"]);
        assert_eq!(names(&named(&["death"])).unwrap(), ["pods::death"], "a file from the working directory");
        assert_eq!(names(&named(&["../api/login"])).unwrap(), ["api::login"]);
        assert_eq!(names(&named(&["."])).unwrap(), ["pods::death", "pods::smoke"]);
    }

    #[test]
    fn tags_and_filters_take_away() {
        let tagged = Selection { tags: vec!["fast".to_owned()], ..Selection::default() };
        assert_eq!(names(&tagged).unwrap(), ["api::login"]);
        let filter = Some(Filter::parse("!*death").unwrap());
        let filtered = Selection { filter, ..named(&["pods"]) };
        assert_eq!(names(&filtered).unwrap(), ["pods::smoke"]);
    }

    #[test]
    fn what_is_not_there_is_an_error_with_what_is_near() {
        let near = |given: &str| match names(&named(&[given])) {
            Err(error @ RunError::SuiteNotFound { .. }) => {
                assert_eq!(error.code(), ErrorCode::SuiteNotFound);
                error.hints().join("")
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(near("pod"), "did you mean `pods`?");
        assert_eq!(near("smoek"), "did you mean `pods::smoke`?");
        assert_eq!(near("pods::deth"), "did you mean `pods::death`?");
        assert_eq!(near("something"), "did you mean `pods` or `api` or `empty`?");
    }

    #[test]
    fn nothing_selected_is_an_error() {
        let nothing = |selection: &Selection| match names(selection) {
            Err(error @ RunError::NothingSelected { .. }) => error.code(),
            other => panic!("{other:?}"),
        };
        assert_eq!(nothing(&named(&["empty"])), ErrorCode::NothingSelected);
        let tagged = Selection { tags: vec!["slow".to_owned()], ..Selection::default() };
        assert_eq!(nothing(&tagged), ErrorCode::NothingSelected);
    }
}
