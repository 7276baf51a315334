//! Names that sessions are wished to have, and names made of what directories are called.

use belljar_model::SessionName;

/// The longest name there is.
const LONGEST: usize = 40;

/// What a directory is called of which no letter is left.
const NAMELESS: &str = "session";

/// The name that a session is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameWish {
    /// This one, or it is an error.
    Exactly(SessionName),
    /// One that is made of this text (a directory's name), with `-2`, `-3` … where it is taken.
    Like(String),
}

/// The names to try for a text, the best one first, without an end.
pub(crate) fn like(text: &str) -> impl Iterator<Item = SessionName> {
    let base = base(text);
    // What reads as an id is no name: the next number is taken.
    (1_u32..).filter_map(move |number| {
        let suffix = if number == 1 { String::new() } else { format!("-{number}") };
        let room = base.get(..LONGEST - suffix.len()).unwrap_or(&base).trim_end_matches('-');
        SessionName::new(format!("{room}{suffix}")).ok()
    })
}

/// The text in the letters of names: lower case, everything else a single `-`.
fn base(text: &str) -> String {
    let mut base = String::new();
    for letter in text.chars().flat_map(char::to_lowercase) {
        if letter.is_ascii_lowercase() || letter.is_ascii_digit() {
            base.push(letter);
        } else if !base.ends_with('-') {
            base.push('-');
        }
    }
    let base = base.trim_matches('-');
    if base.is_empty() { NAMELESS.to_owned() } else { base.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::like;

    fn first_two(text: &str) -> [String; 2] {
        let mut names = like(text).map(String::from);
        [names.next().unwrap(), names.next().unwrap()]
    }

    #[test]
    fn a_directory_gives_its_name_in_the_letters_of_names() {
        assert_eq!(first_two("pods"), ["pods", "pods-2"]);
        assert_eq!(first_two("My Project (old)"), ["my-project-old", "my-project-old-2"]);
        assert_eq!(first_two("--"), ["session", "session-2"]);
        assert_eq!(first_two(""), ["session", "session-2"]);
        assert_eq!(first_two("日本"), ["session", "session-2"]);
    }

    #[test]
    fn a_name_is_never_too_long_and_never_an_id() {
        let [first, second] = first_two(&"x".repeat(60));
        assert_eq!((first.len(), second.len()), (40, 40));
        assert!(second.ends_with("x-2"));
        assert_eq!(first_two(&format!("{}-tail", "x".repeat(38)))[1], format!("{}-2", "x".repeat(38)));
        // `k3f9-x2ab` has the form of an id.
        assert_eq!(first_two("k3f9-x2ab"), ["k3f9-x2ab-2", "k3f9-x2ab-3"]);
        assert!(like("abcd").take(1100).all(|name| name.as_str() != "abcd-1000"));
    }
}
