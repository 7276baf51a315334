//! Texts with references in them: `postgres://${self.host}:${self.port.sql}/app`.

use crate::fault::{Fault, Faults};
use crate::near::nearest;
use crate::source::{Place, Text};

/// A text, taken apart.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    pub(crate) place: Place,
    pub(crate) parts: Vec<Part>,
}

#[derive(Debug, Clone)]
pub(crate) enum Part {
    Literal(String),
    Reference(Reference),
}

/// One `${…}`.
#[derive(Debug, Clone)]
pub(crate) struct Reference {
    pub(crate) place: Place,
    pub(crate) subject: Subject,
    written: String,
}

/// What a reference speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The replica or task that the text belongs to.
    Own(Fact),
    /// A service or replica, by its name.
    Other(String, Fact),
    SessionId,
    SessionName,
    SessionDir,
    Seed,
    /// A variable of the host.
    Host(String),
    /// A parameter of the recipe that the text stands in.
    Parameter(String),
    /// What is asked of the service that a parameter names.
    Named(String, Fact),
    /// A program of the recipe that the text stands in.
    Program(String),
}

/// What is asked about a service, a replica or a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fact {
    Name,
    Index,
    Data,
    Host,
    /// The address to listen on.
    Bind,
    /// A port by its name, or the first one.
    Port(Option<String>),
    Addr(Option<String>),
    /// `url` and what else a recipe gives.
    Output(String),
    /// The same fact of every replica.
    Each(Box<Self>),
}

/// Who wrote a text: only recipes have parameters and programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Author {
    Stack,
    Recipe,
}

/// The first words of references that are not the name of a service. No service can be called so.
pub(crate) const SUBJECTS: &[&str] = &["self", "session", "seed", "env", "with", "program"];

impl Template {
    /// The text, where it refers to nothing but parameters of a recipe that have a value.
    pub(crate) fn filled(&self, parameter: impl Fn(&str) -> Option<String>) -> Option<String> {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Literal(text) => Some(text.clone()),
                Part::Reference(Reference { subject: Subject::Parameter(name), .. }) => parameter(name),
                Part::Reference(_) => None,
            })
            .collect()
    }

    /// Takes `text` apart and notes every reference that can mean nothing. `$${` stands for `${`.
    pub(crate) fn parse(text: &Text, author: Author, faults: &mut Faults) -> Self {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text.value.as_str();
        while let Some(at) = rest.find("${") {
            if rest[..at].ends_with('$') {
                literal.push_str(&rest[..at - 1]);
                literal.push_str("${");
                rest = &rest[at + 2..];
                continue;
            }
            literal.push_str(&rest[..at]);
            let Some(length) = rest[at..].find('}') else {
                let fault =
                    Fault::new(&text.place.of(&rest[at..]), "a reference without its end", "expected a `}`");
                faults.push(fault.with_help("write `$${` for a literal `${`"));
                rest = "";
                break;
            };
            let written = &rest[at..=at + length];
            let place = text.place.of(written);
            match Subject::parse(&written[2..written.len() - 1], author) {
                Ok(subject) => {
                    if !literal.is_empty() {
                        parts.push(Part::Literal(std::mem::take(&mut literal)));
                    }
                    parts.push(Part::Reference(Reference { place, subject, written: written.to_owned() }));
                }
                Err(help) => faults.push(
                    Fault::new(&place, format!("unknown reference `{written}`"), "this refers to nothing")
                        .with_help(help),
                ),
            }
            rest = &rest[at + length + 1..];
        }
        literal.push_str(rest);
        if !literal.is_empty() || parts.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Self { place: text.place.clone(), parts }
    }

    /// Whether it has a value for a single replica alone.
    pub(crate) fn is_of_one_replica(&self) -> bool {
        let index = Subject::Own(Fact::Index);
        self.parts.iter().any(|part| matches!(part, Part::Reference(reference) if reference.subject == index))
    }

    /// What it starts with before the first reference.
    pub(crate) fn prefix(&self) -> Option<&str> {
        match self.parts.first() {
            Some(Part::Literal(text)) => Some(text),
            _ => None,
        }
    }
}

impl Reference {
    /// The same reference, whose faults belong to another place.
    pub(crate) fn told_at(&self, place: &Place) -> Self {
        Self { place: place.clone(), ..self.clone() }
    }

    /// As it stands in the file.
    pub(crate) fn written(&self) -> &str {
        &self.written
    }
}

impl Subject {
    /// Reads what stands between the braces; the error says what could stand there.
    fn parse(text: &str, author: Author) -> Result<Self, String> {
        let words: Vec<&str> = text.split('.').collect();
        let text_of = |word: &str| word.to_owned();
        let in_recipe = author == Author::Recipe;
        match words[..] {
            ["seed"] => Ok(Self::Seed),
            ["session", "id"] => Ok(Self::SessionId),
            ["session", "name"] => Ok(Self::SessionName),
            ["session", "dir"] => Ok(Self::SessionDir),
            ["session", ..] => {
                Err("a session has `${session.id}`, `${session.name}` and `${session.dir}`".into())
            }
            ["env", name] if !name.is_empty() => Ok(Self::Host(text_of(name))),
            ["with", name] if in_recipe => Ok(Self::Parameter(text_of(name))),
            ["with", name, ref facts @ ..] if in_recipe => {
                let fact = Fact::parse(facts).ok_or_else(|| no_fact(&format!("with.{name}")))?;
                Ok(Self::Named(text_of(name), fact))
            }
            // A program may have a dot in its name: `zkServer.sh`.
            ["program", ref name @ ..] if in_recipe && !name.is_empty() => Ok(Self::Program(name.join("."))),
            ["with" | "program", ..] if !in_recipe => {
                Err("parameters and programs are known inside of recipes alone".into())
            }
            [subject, ref facts @ ..] if !subject.is_empty() && !facts.is_empty() => {
                let fact = Fact::parse(facts).ok_or_else(|| no_fact(subject))?;
                Ok(if subject == "self" { Self::Own(fact) } else { Self::Other(text_of(subject), fact) })
            }
            [word] if looks_like_a_variable(word) => Err(format!(
                "`${{env.{word}}}` is the host's variable, `$${{{word}}}` a literal `${{{word}}}`"
            )),
            [word] if nearest(word, ["seed"]).is_some() => Err("did you mean `${seed}`?".into()),
            _ => {
                Err("a reference is a subject and a fact, as in `${db.url}`; write `$${` for a literal `${`"
                    .into())
            }
        }
    }
}

impl Fact {
    fn parse(words: &[&str]) -> Option<Self> {
        match *words {
            ["name"] => Some(Self::Name),
            ["index"] => Some(Self::Index),
            ["data"] => Some(Self::Data),
            ["host"] => Some(Self::Host),
            ["bind"] => Some(Self::Bind),
            ["port"] => Some(Self::Port(None)),
            ["addr"] => Some(Self::Addr(None)),
            ["port", name] if !name.is_empty() => Some(Self::Port(Some(name.to_owned()))),
            ["addr", name] if !name.is_empty() => Some(Self::Addr(Some(name.to_owned()))),
            ["each", ref fact @ ..] if fact.first() != Some(&"each") => {
                Some(Self::Each(Box::new(Self::parse(fact)?)))
            }
            [output] if !output.is_empty() => Some(Self::Output(output.to_owned())),
            _ => None,
        }
    }
}

/// What could be asked instead.
fn no_fact(subject: &str) -> String {
    format!(
        "write `${{{subject}.host}}`, `${{{subject}.port.NAME}}`, `${{{subject}.addr.NAME}}` or `${{{subject}.url}}`"
    )
}

fn looks_like_a_variable(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::{Author, Fact, Part, Subject, Template};
    use crate::fault::Faults;
    use crate::source::{Place, SourceFile, Text};

    fn parse(text: &str) -> (Vec<Part>, usize) {
        let source = Arc::new(SourceFile { path: PathBuf::from("x"), text: text.to_owned() });
        let text = Text { value: text.to_owned(), place: Place::new(&source, 0..text.len()) };
        let mut faults = Faults::default();
        let template = Template::parse(&text, Author::Stack, &mut faults);
        (template.parts, faults.iter().count())
    }

    #[test]
    fn two_dollars_are_a_literal_one() {
        let (parts, faults) = parse("echo $HOME $${not.one} $$ $");
        assert!(
            matches!(&parts[..], [Part::Literal(text)] if text == "echo $HOME ${not.one} $$ $"),
            "{parts:?}"
        );
        assert_eq!(faults, 0);
    }

    #[test]
    fn references_are_taken_apart() {
        let (parts, faults) = parse("${db-2.addr.sql}/${self.index}");
        let [Part::Reference(first), Part::Literal(slash), Part::Reference(second)] = &parts[..] else {
            panic!("{parts:?}");
        };
        assert_eq!(first.subject, Subject::Other("db-2".to_owned(), Fact::Addr(Some("sql".to_owned()))));
        assert_eq!(first.place.span, 0..16);
        assert_eq!(slash, "/");
        assert_eq!(second.subject, Subject::Own(Fact::Index));
        assert_eq!(faults, 0);
    }
}
