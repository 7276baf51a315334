//! `--filter`: globs over `suite::name`, joined by `|`, with `!` for not.

use globset::{Glob, GlobMatcher};

/// Which scenarios are meant, by name.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    wanted: Vec<GlobMatcher>,
    unwanted: Vec<GlobMatcher>,
}

/// A text that is not a filter.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    #[error("`{text}` is not a filter: there is nothing before or after a `|` or a `!`")]
    Empty { text: String },
    #[error("`{glob}` is not a glob")]
    Glob {
        glob: String,
        #[source]
        source: globset::Error,
    },
}

impl Filter {
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let mut filter = Self::default();
        for term in text.split('|').map(str::trim) {
            let (glob, list) = match term.strip_prefix('!') {
                Some(rest) => (rest.trim(), &mut filter.unwanted),
                None => (term, &mut filter.wanted),
            };
            if glob.is_empty() {
                return Err(FilterError::Empty { text: text.to_owned() });
            }
            let compiled = Glob::new(glob);
            let compiled = compiled.map_err(|source| FilterError::Glob { glob: glob.to_owned(), source })?;
            list.push(compiled.compile_matcher());
        }
        Ok(filter)
    }

    /// Whether a scenario is meant: by one glob at least, where there is one without `!`, and by none with.
    pub fn matches(&self, scenario: &str) -> bool {
        let any = |globs: &[GlobMatcher]| globs.iter().any(|glob| glob.is_match(scenario));
        (self.wanted.is_empty() || any(&self.wanted)) && !any(&self.unwanted)
    }
}

#[cfg(test)]
mod tests {
    use super::{Filter, FilterError};

    #[track_caller]
    fn check(filter: &str, matching: &[&str]) {
        const ALL: [&str; 4] = ["api::slow/login.sh", "api::smoke", "pods::smoke", "pods::death"];
        let filter = Filter::parse(filter).unwrap();
        let found: Vec<_> = ALL.into_iter().filter(|name| filter.matches(name)).collect();
        assert_eq!(found, matching);
    }

    #[test]
    fn globs_are_joined_and_negated() {
        check("api::*", &["api::slow/login.sh", "api::smoke"]);
        check("*::smoke", &["api::smoke", "pods::smoke"]);
        check("api::smoke | pods::d*", &["api::smoke", "pods::death"]);
        check("!*smoke*", &["api::slow/login.sh", "pods::death"]);
        check("api::* | !*::s?oke", &["api::slow/login.sh"]);
        check("smoke", &[]);
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for text in ["", "a|", "|a", "!", "a||b"] {
            assert!(matches!(Filter::parse(text), Err(FilterError::Empty { .. })), "{text}");
        }
        assert!(matches!(Filter::parse("a[::b"), Err(FilterError::Glob { .. })));
    }
}
