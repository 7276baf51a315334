//! Reading TOML by hand: every value knows its place, and a wrong one is noted and passed over instead of
//! ending the reading. (serde's derived readers stop at the first fault and forget where it stood.)

use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::time::Duration;

use belljar_model::duration;
use toml::de::{DeTable, DeValue};

use crate::fault::{Fault, Faults};
use crate::keys::Level;
use crate::near::{nearest, suggestion};
use crate::source::{Place, SourceFile, Text};

/// A value and its place.
#[derive(Debug, Clone)]
pub(crate) struct Node<'a> {
    pub(crate) value: &'a DeValue<'a>,
    pub(crate) place: Place,
}

/// One `key = value`.
#[derive(Debug, Clone)]
pub(crate) struct Entry<'a> {
    pub(crate) key: Text,
    pub(crate) value: Node<'a>,
}

/// The entries of a table, in the order of the file.
#[derive(Debug, Clone)]
pub(crate) struct Entries<'a> {
    pub(crate) list: Vec<Entry<'a>>,
}

impl<'a> Entries<'a> {
    pub(crate) fn get(&self, key: &str) -> Option<&Node<'a>> {
        self.entry(key).map(|entry| &entry.value)
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&Entry<'a>> {
        self.list.iter().find(|entry| entry.key.value == key)
    }
}

/// Reads one file and notes what is wrong on the way.
#[derive(Debug)]
pub(crate) struct Walk {
    pub(crate) source: Arc<SourceFile>,
    /// What was said besides the file. Their places begin where those of the file end, each at its own number.
    pub(crate) besides: Vec<(usize, Arc<SourceFile>)>,
    pub(crate) faults: Faults,
}

impl Walk {
    pub(crate) fn new(source: &Arc<SourceFile>) -> Self {
        Self { source: Arc::clone(source), besides: Vec::new(), faults: Faults::default() }
    }

    /// Notes the faults of the syntax. With one of those nothing else can be said of the file.
    pub(crate) fn syntax(&mut self, errors: &[toml::de::Error]) {
        for error in errors {
            let place = self.place(error.span().unwrap_or(0..0));
            self.faults.push(Fault::new(&place, "this is not TOML", error.message()));
        }
    }

    pub(crate) fn place(&self, span: Range<usize>) -> Place {
        match self.besides.iter().rev().find(|(start, _)| span.start >= *start) {
            Some((start, source)) => {
                Place::new(source, span.start - start..span.end.saturating_sub(*start)).behind(*start)
            }
            None => Place::new(&self.source, span),
        }
    }

    pub(crate) fn fault(&mut self, place: &Place, message: impl Into<String>, label: impl Into<String>) {
        self.faults.push(Fault::new(place, message, label));
    }

    /// The entries of a table whose keys are names that people choose.
    pub(crate) fn entries<'a>(&self, table: &'a DeTable<'a>) -> Entries<'a> {
        let mut list: Vec<_> = table
            .iter()
            .map(|(key, value)| Entry {
                key: Text { value: key.get_ref().to_string(), place: self.place(key.span()) },
                value: Node { value: value.get_ref(), place: self.place(value.span()) },
            })
            .collect();
        // The parser sorts by key; the order of the file is what people mean by "first".
        list.sort_by_key(|entry| entry.key.place.position());
        Entries { list }
    }

    /// Notes every key that `level` does not have, with what was meant or why it is not carried out.
    pub(crate) fn check_keys(&mut self, entries: &Entries<'_>, level: Level) {
        for Entry { key, .. } in &entries.list {
            let Text { value: name, place } = key;
            if level.keys().contains(&name.as_str()) {
                continue;
            }
            self.faults.push(match level.not_carried_out(name) {
                Some(why) => not_carried_out(place, name, why),
                None => {
                    Fault::new(place, format!("{} has no key `{name}`", level.what()), "this key is unknown")
                        .with_maybe_help(suggestion(name, "its keys", level.keys().iter().copied()))
                }
            });
        }
    }

    /// The entries of a table value.
    pub(crate) fn table<'a>(&mut self, node: &Node<'a>, expected: &str) -> Option<Entries<'a>> {
        match node.value {
            DeValue::Table(table) => Some(self.entries(table)),
            _ => self.wrong_type(node, expected),
        }
    }

    /// The entries of a table value whose keys are those of `level`.
    pub(crate) fn keyed_table<'a>(
        &mut self,
        node: &Node<'a>,
        level: Level,
        expected: &str,
    ) -> Option<Entries<'a>> {
        let entries = self.table(node, expected)?;
        self.check_keys(&entries, level);
        Some(entries)
    }

    pub(crate) fn list<'a>(&mut self, node: &Node<'a>, expected: &str) -> Option<Vec<Node<'a>>> {
        match node.value {
            DeValue::Array(array) => Some(
                array
                    .iter()
                    .map(|one| Node { value: one.get_ref(), place: self.place(one.span()) })
                    .collect(),
            ),
            _ => self.wrong_type(node, expected),
        }
    }

    pub(crate) fn string(&mut self, node: &Node<'_>, expected: &str) -> Option<Text> {
        match node.value {
            DeValue::String(text) if text.contains('\0') => {
                self.fault(&node.place, "a text with a NUL character in it", "no program can be given this");
                None
            }
            DeValue::String(text) => Some(Text { value: text.to_string(), place: node.place.clone() }),
            // A shell takes quotes away: what was said on the command line means itself.
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_)
                if self.was_said(&node.place) =>
            {
                Some(Text { value: node.place.raw().to_owned(), place: node.place.clone() })
            }
            _ => self.wrong_type(node, expected),
        }
    }

    /// Whether it stands on the command line and not in the file.
    fn was_said(&self, place: &Place) -> bool {
        self.besides.iter().any(|(_, source)| Arc::ptr_eq(source, &place.source))
    }

    pub(crate) fn strings(&mut self, node: &Node<'_>, expected: &str) -> Option<Vec<Text>> {
        let list = self.list(node, expected)?;
        Some(list.iter().filter_map(|one| self.string(one, "a string")).collect())
    }

    /// A string or a list of strings.
    pub(crate) fn one_or_more(&mut self, node: &Node<'_>, expected: &str) -> Option<Vec<Text>> {
        match node.value {
            DeValue::String(_) => Some(self.string(node, expected).into_iter().collect()),
            _ => self.strings(node, expected),
        }
    }

    pub(crate) fn boolean(&mut self, node: &Node<'_>) -> Option<bool> {
        match node.value {
            DeValue::Boolean(value) => Some(*value),
            _ => self.wrong_type(node, "true or false"),
        }
    }

    /// A whole number within `range`.
    pub(crate) fn number<T>(&mut self, node: &Node<'_>, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + fmt::Display,
    {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let DeValue::Integer(integer) = node.value else { return self.wrong_type(node, &expected) };
        let value = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let value = value.and_then(|value| T::try_from(value).ok()).filter(|value| range.contains(value));
        if value.is_none() {
            self.fault(&node.place, format!("{integer} is out of range"), format!("expected {expected}"));
        }
        value
    }

    /// A duration longer than nothing, unless `or_zero`.
    pub(crate) fn duration(&mut self, node: &Node<'_>, or_zero: bool) -> Option<Duration> {
        let text = self.string(node, "a duration in quotes, such as \"10s\"")?;
        match duration::parse(&text.value) {
            Ok(value) if value.is_zero() && !or_zero => {
                self.fault(&text.place, "this leaves no time at all", "expected more than 0s");
                None
            }
            Ok(value) => Some(value),
            Err(_) => {
                let message = format!("`{}` is not a duration", text.value);
                let label = "expected a number and one of ms, s, m, h, d, as in `250ms` or `10s`";
                self.fault(&text.place, message, label);
                None
            }
        }
    }

    /// A text that is a regular expression.
    pub(crate) fn regex(&mut self, node: &Node<'_>) -> Option<Text> {
        let text = self.string(node, "a regular expression")?;
        match regex::Regex::new(&text.value) {
            Ok(_) => Some(text),
            Err(error) => {
                // The last line of the library's message is the reason; the rest draws the pattern again.
                let reason = error.to_string();
                let reason =
                    reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                self.fault(&text.place, "this is not a regular expression", reason);
                None
            }
        }
    }

    /// One of a closed list of words.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        level: Level,
        key: &str,
        node: &Node<'_>,
        choices: &[(&'static str, T)],
    ) -> Option<T> {
        let words = || choices.iter().map(|(word, _)| *word);
        let expected = format!("expected {}", one_of(words()));
        let text = self.string(node, expected.trim_start_matches("expected "))?;
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text.value) {
            return Some(*value);
        }
        let written = format!("{key} = \"{}\"", text.value);
        self.faults.push(match level.value_not_carried_out(key, &text.value) {
            Some(why) => not_carried_out(&text.place, &written, why),
            None => Fault::new(&text.place, format!("`{key}` cannot be `{}`", text.value), expected)
                .with_maybe_help(nearest(&text.value, words()).map(|near| format!("did you mean `{near}`?"))),
        });
        None
    }

    /// Notes that a value is of another type than expected. Never gives a value, so that callers can return it.
    pub(crate) fn wrong_type<T>(&mut self, node: &Node<'_>, expected: &str) -> Option<T> {
        let found = match node.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let fault =
            Fault::new(&node.place, format!("{found} does not fit here"), format!("expected {expected}"));
        let raw = node.place.raw();
        let quote = expected.starts_with("a string")
            && matches!(node.value, DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_));
        self.faults.push(fault.with_maybe_help(quote.then(|| format!("write \"{raw}\""))));
        None
    }
}

fn not_carried_out(place: &Place, what: &str, why: &str) -> Fault {
    Fault::new(place, format!("`{what}` is not carried out by this version of belljar"), why)
}

/// `a, b or c`.
pub(crate) fn one_of<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<_> = words.map(|word| format!("`{word}`")).collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}
