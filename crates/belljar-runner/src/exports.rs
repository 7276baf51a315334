//! What a suite's `setup` hands on: the `NAME=value` lines that it wrote to `$BELLJAR_EXPORTS`.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::Path;

use belljar_store::{StoreError, artifacts};

/// The file's name in the directory of the session's control socket: it holds keys, so it is nobody else's to
/// read, and goes with the session.
pub(crate) const FILE: &str = "exports";

/// More than this is no environment.
const LARGEST: u64 = 1024 * 1024;

/// Why the exports of a setup cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportsError {
    #[error(transparent)]
    Unusable(#[from] StoreError),
    #[error("what setup exports cannot be read")]
    Unreadable(#[from] io::Error),
    #[error("setup exports more than a megabyte")]
    TooLarge,
    #[error("line {line} of what setup exports is not `NAME=value`")]
    Line { line: usize },
}

/// Reads the exports, where the session could have put anything in their place.
pub(crate) fn read(dir: &Path) -> Result<BTreeMap<String, String>, ExportsError> {
    let file = artifacts::open(dir, Path::new(FILE))?;
    let mut text = String::new();
    let read = file.take(LARGEST + 1).read_to_string(&mut text)?;
    if read as u64 > LARGEST {
        return Err(ExportsError::TooLarge);
    }
    parse(&text)
}

fn parse(text: &str) -> Result<BTreeMap<String, String>, ExportsError> {
    let mut exports = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once('=') {
            Some((name, value)) if is_variable(name) && !value.contains('\0') => {
                exports.insert(name.to_owned(), value.to_owned());
            }
            // The line itself may be a secret, so it is not shown.
            _ => return Err(ExportsError::Line { line: index + 1 }),
        }
    }
    Ok(exports)
}

fn is_variable(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    name.bytes().next().is_some_and(letter) && name.bytes().all(|byte| letter(byte) || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::{ExportsError, FILE, LARGEST, parse, read};

    #[test]
    fn names_and_values_are_read_as_they_stand() {
        let exports = parse("# keys\nA=1\n\nB_2= two = 2 \nA=3\nEMPTY=\n").unwrap();
        let pairs: Vec<_> = exports.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("A", "3"), ("B_2", " two = 2 "), ("EMPTY", "")]);
    }

    #[test]
    fn what_is_no_variable_is_an_error_at_its_line() {
        for text in ["A=1\nexport B=2\n", "\n2B=2\n", "\n=x", "\nA", "A=1\nB=a\0b"] {
            assert!(matches!(parse(text), Err(ExportsError::Line { line: 2 })), "{text:?}");
        }
    }

    #[test]
    fn nothing_planted_in_its_place_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/hostname", dir.path().join(FILE)).unwrap();
        assert!(matches!(read(dir.path()), Err(ExportsError::Unusable(_))));
        fs_err::remove_file(dir.path().join(FILE)).unwrap();
        fs_err::write(dir.path().join(FILE), vec![b'#'; usize::try_from(LARGEST).unwrap() + 1]).unwrap();
        assert!(matches!(read(dir.path()), Err(ExportsError::TooLarge)));
    }
}
