//! The page of the documentation: prose that people wrote, and between two marks what was measured.

use std::path::PathBuf;

use super::picture::{Theme, picture};
use super::table::table;
use crate::error::{Error, Result};
use crate::groups::GROUPS;
use crate::repository;
use crate::results::Results;

const BEGIN: &str = "<!-- measured: begin -->\n";
const END: &str = "<!-- measured: end -->\n";

/// Where everything of the page lies.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) results: PathBuf,
    text: PathBuf,
    light: PathBuf,
    dark: PathBuf,
}

impl Page {
    /// The one of this repository.
    pub(crate) fn here() -> Self {
        let docs = repository().join("docs/reference");
        Self {
            results: repository().join("bench/results.json"),
            text: docs.join("performance.md"),
            light: docs.join("performance-light.svg"),
            dark: docs.join("performance-dark.svg"),
        }
    }
}

/// Writes the results, and everything that is made from them.
pub(crate) fn write_page(page: &Page, results: &Results) -> Result<()> {
    results.write(&page.results)?;
    for (path, text) in rendered(page, results)? {
        fs_err::write(path, text).map_err(Error::io("write the page"))?;
    }
    Ok(())
}

/// Files and what they are to be.
fn rendered(page: &Page, results: &Results) -> Result<[(PathBuf, String); 3]> {
    let before = fs_err::read_to_string(&page.text).map_err(Error::io("read the page"))?;
    let text = replaced(&before, &measured(results)).ok_or_else(|| Error::Nonsense {
        what: page.text.display().to_string(),
        why: format!("it has no `{}` and `{}`", BEGIN.trim_end(), END.trim_end()),
    })?;
    Ok([
        (page.text.clone(), text),
        (page.light.clone(), picture(results, Theme::Light)),
        (page.dark.clone(), picture(results, Theme::Dark)),
    ])
}

fn replaced(page: &str, measured: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{measured}{END}{after}"))
}

fn measured(results: &Results) -> String {
    let machine = &results.machine;
    let mut text = format!(
        "Measured on {date} as {user}: {cpu}, {cores} cores, {memory} GiB; {system}, Linux {kernel}.\n\n\
         <picture>\n  \
         <source media=\"(prefers-color-scheme: dark)\" srcset=\"performance-dark.svg\">\n  \
         <img src=\"performance-light.svg\" alt=\"The times of the tables below, each beside its floor and its \
         budget, on a logarithmic scale\">\n\
         </picture>\n",
        date = results.date,
        user = machine.user,
        cpu = machine.cpu,
        cores = machine.cores,
        memory = machine.memory_gib,
        system = machine.system,
        kernel = machine.kernel,
    );
    for group in GROUPS {
        if results.of_group(group.name).next().is_none() {
            continue;
        }
        let title = capitalised(group.about);
        text.push_str(&["\n### ", &title, "\n\n`./x bench ", group.name, "`\n\n"].concat());
        text.push_str(&table(results.of_group(group.name), &results.date));
    }
    text
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::sample;

    #[test]
    fn what_people_wrote_stays() {
        let page = format!("before\n{BEGIN}old\n{END}after\n");
        assert_eq!(replaced(&page, "new\n").unwrap(), format!("before\n{BEGIN}new\n{END}after\n"));
        assert_eq!(replaced("nothing", "new"), None);
    }

    #[test]
    fn the_page_has_a_table_for_every_group_that_was_measured() {
        insta::assert_snapshot!(measured(&sample()));
    }

    /// Figures on the page are of the file of results, and not typed.
    #[test]
    fn the_page_is_what_the_results_make_of_it() {
        let page = Page::here();
        let results = Results::read(&page.results).unwrap();
        for (path, text) in rendered(&page, &results).unwrap() {
            let is = fs_err::read_to_string(&path).unwrap();
            assert!(
                is == text,
                "{} is another: `./x bench --from bench/results.json --page`",
                path.display()
            );
        }
    }
}
