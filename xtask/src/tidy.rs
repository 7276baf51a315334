//! Rules of the repository that no compiler knows.

use std::path::Path;

use crate::markdown::{self, Line, anchor, links};
use crate::repository::{files, has_extension, root, text};

/// A file of the product that is longer wants to be two.
const LONGEST: usize = 800;

pub(crate) fn run() -> Vec<String> {
    let mut faults = Vec::new();
    for path in files() {
        let Some(text) = text(&path) else { continue };
        faults.extend(is_short(&path, &text));
        faults.extend(names_no_machine(&path, &text));
        if has_extension(&path, "md") {
            faults.extend(links_resolve(&path, &text));
        }
    }
    faults.extend(no_test_is_forgotten());
    faults
}

fn is_short(path: &Path, text: &str) -> Option<String> {
    let lines = text.lines().count();
    let counts = path.starts_with("crates") && has_extension(path, "rs");
    (counts && lines > LONGEST).then(|| format!("{}: {lines} lines; {LONGEST} are enough", path.display()))
}

/// A path that exists on one machine alone.
fn names_no_machine(path: &Path, text: &str) -> Vec<String> {
    // In two halves, so that this file is not its own first finding.
    let prefixes = [concat!("/", "work/"), concat!("/", "root/"), concat!("/", "Users/")];
    let mut faults = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        for prefix in prefixes {
            let mut starts = line.match_indices(prefix).map(|(start, _)| line[..start].chars().next_back());
            // Preceded by anything of a path it is the end of another one: `/proc/1/root/`.
            let is_one =
                |before: Option<char>| before.is_none_or(|c| !c.is_alphanumeric() && !"/._-})>".contains(c));
            if starts.any(is_one) {
                faults.push(format!("{}:{number}: `{prefix}…` is one machine's path", path.display()));
            }
        }
    }
    faults
}

/// Every link to a file leads to one, and every anchor to a heading.
fn links_resolve(path: &Path, page: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for (number, line) in (1..).zip(markdown::lines(page)) {
        let Line::Text(line) = line else { continue };
        for link in links(line) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, heading) = link.split_once('#').map_or((link, None), |(file, it)| (file, Some(it)));
            let target = if file.is_empty() {
                root().join(path)
            } else {
                root().join(path).parent().expect("lies in the repository").join(file)
            };
            let place = format!("{}:{number}", path.display());
            if !target.exists() {
                faults.push(format!("{place}: the link `{link}` leads nowhere"));
                continue;
            }
            let Some(heading) = heading.filter(|_| has_extension(&target, "md")) else { continue };
            let there = fs_err::read_to_string(&target).unwrap_or_default();
            let has_it = markdown::lines(&there).iter().any(
                |line| matches!(line, Line::Text(text) if text.starts_with('#') && anchor(text) == heading),
            );
            if !has_it {
                faults.push(format!("{place}: `{link}` names a heading that is not there"));
            }
        }
    }
    faults
}

/// A file of the end-to-end tests that no `mod` names is never compiled.
fn no_test_is_forgotten() -> Vec<String> {
    let dir = Path::new("tests/e2e/tests");
    let all = text(&dir.join("all.rs")).unwrap_or_default();
    let is_named = |module: &str| all.lines().any(|line| line.trim() == format!("mod {module};"));
    files()
        .iter()
        .filter(|path| path.parent() == Some(dir) && has_extension(path, "rs"))
        .filter_map(|path| path.file_stem()?.to_str())
        .filter(|module| *module != "all" && !is_named(module))
        .map(|module| format!("tests/e2e/tests/{module}.rs is not in all.rs: it is never run"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machines_path_is_told_from_the_end_of_another() {
        let path = Path::new("page.md");
        let root = concat!("/", "root/");
        assert_eq!(names_no_machine(path, &format!("see {root}notes")).len(), 1);
        assert_eq!(names_no_machine(path, &format!("`{root}notes`")).len(), 1);
        assert_eq!(names_no_machine(path, &format!("/proc/1{root}etc")).len(), 0);
    }
}
