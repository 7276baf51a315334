//! What must not be shown to others: values of variables whose names say that they are secret, and passwords in
//! URLs. They are replaced wherever they stand, letter by letter.

use std::collections::{BTreeMap, BTreeSet};

use belljar_stack::Plan;
use regex::bytes::{NoExpand, Regex};

/// A variable with one of these in its name is a secret.
const TELLING: &[&str] = &[
    "KEY",
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "CREDENTIAL",
    "PRIVATE",
    "COOKIE",
    "AUTH",
];

/// Shorter values are no secrets, and replacing them would take other words along.
const SHORTEST: usize = 4;

/// Values that are replaced, each with the name that it is known by.
#[derive(Debug, Default)]
pub(crate) struct Secrets {
    /// Longest first, so that one that holds another is replaced whole.
    values: Vec<(String, String)>,
}

pub(crate) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    // Where a file or a socket lies is no secret.
    let is_place = ["_FILE", "_PATH", "_DIR", "_SOCK"].iter().any(|end| name.ends_with(end));
    !is_place && TELLING.iter().any(|word| name.contains(word))
}

impl Secrets {
    /// Those among these variables.
    pub(crate) fn among<'a>(variables: impl Iterator<Item = &'a BTreeMap<String, String>>) -> Self {
        let mut found: BTreeSet<(String, String)> = BTreeSet::new();
        for (name, value) in variables.flatten() {
            if is_secret(name) {
                found.insert((name.clone(), value.clone()));
            }
            if let Some(password) = password_of_url(value) {
                found.insert((format!("password in {name}"), password.to_owned()));
            }
        }
        let mut values: Vec<(String, String)> =
            found.into_iter().filter(|(_, value)| value.len() >= SHORTEST).collect();
        values.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
        Self { values }
    }

    /// Those of everything that a session runs.
    pub(crate) fn of_plan(plan: &Plan) -> Self {
        Self::among(environments(plan))
    }

    /// The names that they are known by.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        self.values.iter().map(|(name, _)| name.as_str()).collect()
    }

    pub(crate) fn redacted_text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.redacted(text.as_bytes().to_vec())).into_owned()
    }

    /// The bytes with every secret replaced, as it is and as JSON writes it.
    pub(crate) fn redacted(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        for (name, value) in &self.values {
            let with = format!("[redacted: {name}]");
            let in_json = serde_json::Value::from(value.as_str()).to_string();
            for form in [in_json.trim_matches('"'), value] {
                let Ok(pattern) = Regex::new(&regex::escape(form)) else { continue };
                if pattern.is_match(&bytes) {
                    bytes = pattern.replace_all(&bytes, NoExpand(with.as_bytes())).into_owned();
                }
            }
        }
        bytes
    }
}

/// Every environment of a plan.
pub(crate) fn environments(plan: &Plan) -> impl Iterator<Item = &BTreeMap<String, String>> {
    let replicas = plan.replicas().map(|one| &one.env);
    let tasks = plan.tasks.iter().map(|one| &one.env);
    let suites = plan.suites.iter().map(|one| &one.env);
    replicas.chain(tasks).chain(suites).chain([&plan.command_env])
}

/// `secret` of `postgres://ada:secret@db/shop`.
fn password_of_url(value: &str) -> Option<&str> {
    let authority = value.split_once("://")?.1.split(['/', '?', '#']).next()?;
    let (user, _) = authority.rsplit_once('@')?;
    user.split_once(':').map(|(_, password)| password)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Secrets, is_secret, password_of_url};

    fn secrets(pairs: &[(&str, &str)]) -> Secrets {
        let variables: BTreeMap<String, String> =
            pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        Secrets::among([&variables].into_iter())
    }

    #[test]
    fn names_tell_what_is_secret() {
        for name in ["API_KEY", "github_token", "POSTGRES_PASSWORD", "AWS_SECRET_ACCESS_KEY", "authorization"]
        {
            assert!(is_secret(name), "{name}");
        }
        for name in ["PATH", "HOME", "DATABASE_URL", "PGHOST", "SSH_AUTH_SOCK", "TLS_KEY_FILE"] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn passwords_stand_in_urls_too() {
        assert_eq!(password_of_url("postgres://ada:s3cr:et@db:5432/shop?x=@"), Some("s3cr:et"));
        assert_eq!(password_of_url("http://db/x:y@z"), None);
        assert_eq!(password_of_url("ada:secret@db"), None);
    }

    #[test]
    fn every_occurrence_goes_in_every_form() {
        let secrets = secrets(&[
            ("API_TOKEN", "hunter2"),
            ("LONG_TOKEN", "hunter2-and-more"),
            ("ODD_KEY", "a\"b\\c"),
            ("SHORT_KEY", "abc"),
            ("URL", "pg://u:in-a-url@h"),
            ("HOME", "/home/ada"),
        ]);
        let text = r#"hunter2 hunter2-and-more "a\"b\\c" a"b\c abc in-a-url /home/ada"#;
        assert_eq!(
            secrets.redacted_text(text),
            "[redacted: API_TOKEN] [redacted: LONG_TOKEN] \"[redacted: ODD_KEY]\" [redacted: ODD_KEY] abc \
             [redacted: password in URL] /home/ada"
        );
        // What is not text is left as it is around it.
        assert_eq!(secrets.redacted(b"\xffhunter2\xfe".to_vec()), b"\xff[redacted: API_TOKEN]\xfe");
    }
}
