//! What is said of a stack besides its file: on the command line, or by `scale`. It is read and checked exactly as
//! the file is, and a fault of it is shown where it was said.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::declare::{Command, StackDecl};
use crate::fault::Fault;
use crate::near::suggestion;
use crate::reference::{Part, Template};
use crate::source::{Place, SourceFile, Text};
use crate::walk::Walk;

/// What is said besides a stack file. All but the profiles are `KEY=VALUE`, as they were written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edits {
    /// Keys of the stack by their dotted paths, with values of TOML, or else strings.
    pub set: Vec<String>,
    /// How many replicas services have.
    pub replicas: Vec<String>,
    /// Programs that run in place of the first word of services' commands, by absolute paths.
    pub programs: Vec<String>,
    /// Profiles that are asked for.
    pub profiles: Vec<String>,
}

const SET: &str = "--set";
const REPLICAS: &str = "--replicas";
const OVERRIDE: &str = "--override";
const PROFILE: &str = "--profile";

impl Edits {
    /// These with others on top: what is said again of the same key takes its place.
    #[must_use]
    pub fn and(mut self, later: Self) -> Self {
        let key = |text: &str| text.split_once('=').map_or(text, |(key, _)| key).trim().to_owned();
        let pairs = [
            (&mut self.set, later.set),
            (&mut self.replicas, later.replicas),
            (&mut self.programs, later.programs),
            (&mut self.profiles, later.profiles),
        ];
        for (all, later) in pairs {
            for one in later {
                all.retain(|other| key(other) != key(&one));
                all.push(one);
            }
        }
        self
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// As they are said on a command line.
    pub fn as_flags(&self) -> Vec<String> {
        let all = [
            (SET, &self.set),
            (REPLICAS, &self.replicas),
            (OVERRIDE, &self.programs),
            (PROFILE, &self.profiles),
        ];
        all.iter().flat_map(|(flag, texts)| texts.iter().map(move |text| format!("{flag} {text}"))).collect()
    }
}

/// A text that was said beside the file, with room before it for everything that was said until then: the places
/// in it follow those of the file, as if it stood behind it.
#[derive(Debug)]
pub(crate) struct Saying {
    flag: &'static str,
    start: usize,
    source: Arc<SourceFile>,
    padded: String,
}

/// Everything of `edits` that changes keys.
pub(crate) fn sayings(edits: &Edits, file: &SourceFile) -> Vec<Saying> {
    // Faults at the very end of the file still belong to it.
    let mut start = file.text.len() + 2;
    let texts =
        edits.set.iter().map(|text| (SET, text)).chain(edits.replicas.iter().map(|text| (REPLICAS, text)));
    let mut all = Vec::new();
    for (flag, text) in texts {
        let source = SourceFile { path: PathBuf::from(flag), text: text.clone() };
        let padded = format!("{}{text}", " ".repeat(start));
        all.push(Saying { flag, start, source: Arc::new(source), padded });
        start += text.len() + 2;
    }
    all
}

impl Walk {
    /// Puts what was said into the top of a stack, each where it belongs.
    pub(crate) fn say<'a>(&mut self, sayings: &'a [Saying], top: &mut DeTable<'a>) {
        for saying in sayings {
            self.besides.push((saying.start, Arc::clone(&saying.source)));
            let Some((keys, value)) = self.taken_apart(saying) else { continue };
            match saying.flag {
                REPLICAS => self.say_replicas(&keys, value, top),
                _ => self.put(&keys, value, top),
            }
        }
    }

    /// The keys and the value of one saying.
    fn taken_apart<'a>(
        &mut self,
        saying: &'a Saying,
    ) -> Option<(Vec<Spanned<DeString<'a>>>, Spanned<DeValue<'a>>)> {
        let whole = self.place(saying.start..saying.start + saying.source.text.len());
        let is_set = saying.flag == SET;
        let example = if is_set {
            "KEY=VALUE, as in `service.api.env.LOG=debug`"
        } else {
            "SERVICE=NUMBER, as in `api=5`"
        };
        let text = saying.padded.as_str();
        let Some(at) = equals_sign(text) else {
            self.fault(
                &whole,
                format!("`{}` does not set anything", saying.source.text),
                format!("expected {example}"),
            );
            return None;
        };
        if let Ok(table) = DeTable::parse(text) {
            return Some(only_path(table.into_inner()));
        }
        // The value is no TOML, so it is a string; unless it is the key that is wrong.
        let key: &str = &text[..at];
        let value = &text[at + 1..];
        let spanned = Spanned::new(at + 1..text.len(), DeValue::String(value.into()));
        let names = dotted(key, saying.start);
        if names.is_none() {
            let place = self.place(saying.start..at);
            self.fault(&place, "this is not a key", format!("expected {example}"));
        }
        names.map(|names| (names, spanned))
    }

    fn put<'a>(
        &mut self,
        keys: &[Spanned<DeString<'a>>],
        value: Spanned<DeValue<'a>>,
        table: &mut DeTable<'a>,
    ) {
        let Some((key, below)) = keys.split_first() else { return };
        if below.is_empty() {
            // The key is where it was said last.
            table.remove(key.get_ref().as_ref());
            table.insert(key.clone(), value);
            return;
        }
        if !table.contains_key(key.get_ref().as_ref()) {
            table.insert(key.clone(), Spanned::new(key.span(), DeValue::Table(DeTable::new())));
        }
        if let Some(DeValue::Table(inner)) = table.get_mut(key.get_ref().as_ref()).map(Spanned::get_mut) {
            return self.put(below, value, inner);
        }
        let place = self.place(key.span());
        let message = format!("`{}` is not a table", key.get_ref());
        self.fault(&place, message, "the stack file gives it a single value, which has no keys below it");
    }

    /// `api=5` is `service.api.replicas=5`, of a service that is there.
    fn say_replicas<'a>(
        &mut self,
        keys: &[Spanned<DeString<'a>>],
        value: Spanned<DeValue<'a>>,
        top: &mut DeTable<'a>,
    ) {
        let services = match top.get_mut("service").map(Spanned::get_mut) {
            Some(DeValue::Table(services)) => services,
            // What is wrong with it is told of when it is read.
            Some(_) => return,
            None => &mut DeTable::new(),
        };
        if let [name] = keys
            && let Some(DeValue::Table(service)) =
                services.get_mut(name.get_ref().as_ref()).map(Spanned::get_mut)
        {
            service.remove("replicas");
            service.insert(Spanned::new(name.span(), "replicas".into()), value);
            return;
        }
        let written: Vec<&str> = keys.iter().map(|key| key.get_ref().as_ref()).collect();
        let names: Vec<&str> = services.keys().map(|key| key.get_ref().as_ref()).collect();
        let (first, last) =
            (keys.first().map_or(0, |key| key.span().start), keys.last().map_or(0, |key| key.span().end));
        let place = self.place(first..last);
        let help = suggestion(&written.join("."), "its services", names.iter().copied());
        let message = format!("there is no service `{}`", written.join("."));
        self.faults
            .push(Fault::new(&place, message, "the stack file has no such service").with_maybe_help(help));
    }

    /// Puts other programs in the place of services' own.
    pub(crate) fn override_programs(&mut self, edits: &Edits, stack: &mut StackDecl) {
        for text in &edits.programs {
            let source = Arc::new(SourceFile { path: PathBuf::from(OVERRIDE), text: text.clone() });
            let at = |range| Place::new(&source, range);
            let Some((name, path)) = text.split_once('=').filter(|(_, path)| !path.is_empty()) else {
                let label = "expected SERVICE=PATH, as in `api=target/debug/api`";
                self.fault(&at(0..text.len()), format!("`{text}` does not override anything"), label);
                continue;
            };
            let names: Vec<String> = stack.services.iter().map(|one| one.name.to_string()).collect();
            let Some(service) = stack.services.iter_mut().find(|one| one.name.as_str() == name) else {
                let help = suggestion(name, "its services", names.iter().map(String::as_str));
                let fault = Fault::new(
                    &at(0..name.len()),
                    format!("there is no service `{name}`"),
                    "the stack file has no such service",
                );
                self.faults.push(fault.with_maybe_help(help));
                continue;
            };
            let place = at(name.len() + 1..text.len());
            match &mut service.process.command {
                Some(Command::Words(words)) if !words.is_empty() => {
                    words[0] = Template { place: place.clone(), parts: vec![Part::Literal(path.to_owned())] };
                    service.program = Some(Text { value: path.to_owned(), place });
                }
                Some(Command::Shell(script)) => {
                    let script = script.place.clone();
                    self.faults.push(
                        Fault::new(
                            &at(0..name.len()),
                            format!("`{name}` runs a script"),
                            "only the program of a `run` can be another one",
                        )
                        .also(&script, "the script"),
                    );
                }
                // A service without a command has been told of.
                _ => {}
            }
        }
    }

    /// Takes out what is there only for profiles that nobody asked for.
    pub(crate) fn choose_profiles(&mut self, edits: &Edits, stack: &mut StackDecl) {
        let known: Vec<String> = {
            let services = stack.services.iter().map(|one| &one.process.profiles);
            services.chain(stack.tasks.iter().map(|one| &one.process.profiles)).flatten().cloned().collect()
        };
        for asked in &edits.profiles {
            if !known.contains(asked) {
                let source = Arc::new(SourceFile { path: PathBuf::from(PROFILE), text: asked.clone() });
                let help = suggestion(asked, "its profiles", known.iter().map(String::as_str));
                let fault = Fault::new(
                    &Place::new(&source, 0..asked.len()),
                    format!("there is no profile `{asked}`"),
                    "no service and no task of the stack file has it",
                );
                self.faults.push(fault.with_maybe_help(help));
            }
        }
        let is_active = |profiles: &[String]| {
            profiles.is_empty() || profiles.iter().any(|one| edits.profiles.contains(one))
        };
        let services = stack.services.iter().map(|one| (one.name.to_string(), one.process.profiles.clone()));
        let tasks = stack.tasks.iter().map(|one| (one.name.to_string(), one.process.profiles.clone()));
        stack.inactive = services.chain(tasks).filter(|(_, profiles)| !is_active(profiles)).collect();
        stack.services.retain(|one| is_active(&one.process.profiles));
        stack.tasks.retain(|one| is_active(&one.process.profiles));
    }
}

/// ``the profile `debug` ``, or one of several.
pub(crate) fn of_profiles(profiles: &[String]) -> String {
    let names: Vec<String> = profiles.iter().map(|one| format!("`{one}`")).collect();
    match &names[..] {
        [one] => format!("the profile {one}"),
        _ => format!("one of the profiles {}", names.join(", ")),
    }
}

pub(crate) fn ask_for(profiles: &[String]) -> String {
    format!("ask for it: `--profile {}`", profiles.first().map_or("NAME", String::as_str))
}

/// The first `=` that is not inside of a quoted key.
fn equals_sign(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, letter) in text.char_indices() {
        match quote {
            Some(open) if letter == open => quote = None,
            None if matches!(letter, '"' | '\'') => quote = Some(letter),
            None if letter == '=' => return Some(at),
            _ => {}
        }
    }
    None
}

/// The keys of a path, where it is one. Written with the value of no consequence, TOML itself takes it apart.
fn dotted(key: &str, start: usize) -> Option<Vec<Spanned<DeString<'static>>>> {
    let text = format!("{key}=0");
    let (keys, _) = only_path(owned(DeTable::parse(&text).ok()?.into_inner()));
    (!keys.is_empty() && keys[0].span().start >= start).then_some(keys)
}

/// The keys of a table whose text is not kept; values are of no consequence.
fn owned(table: DeTable<'_>) -> DeTable<'static> {
    let mut all = DeTable::new();
    for (key, value) in table {
        let span = value.span();
        let value = match value.into_inner() {
            DeValue::Table(inner) => DeValue::Table(owned(inner)),
            _ => DeValue::Boolean(true),
        };
        let name = Spanned::new(key.span(), key.into_inner().into_owned().into());
        all.insert(name, Spanned::new(span, value));
    }
    all
}

/// Follows tables of one key that were made by dots down to the value.
fn only_path(table: DeTable<'_>) -> (Vec<Spanned<DeString<'_>>>, Spanned<DeValue<'_>>) {
    let mut keys = Vec::new();
    let mut table = table;
    loop {
        let Some((key, value)) = table.into_iter().next() else {
            return (keys, Spanned::new(0..0, DeValue::Boolean(true)));
        };
        // A table that is a value is written behind its key; the tables of dots stand before it.
        let is_dots = value.span().start <= key.span().start;
        keys.push(key);
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(inner) if is_dots && inner.len() == 1 => table = inner,
            other => return (keys, Spanned::new(span, other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_ends_at_its_equals_sign() {
        assert_eq!(equals_sign("a.b=c=d"), Some(3));
        assert_eq!(equals_sign(r#"env."A=B"=c"#), Some(9));
        assert_eq!(equals_sign("abc"), None);
    }

    #[test]
    fn later_sayings_take_the_place_of_earlier_ones() {
        let edits = |set: &[&str]| Edits {
            set: set.iter().map(|one| (*one).to_owned()).collect(),
            ..Edits::default()
        };
        let both = edits(&["a=1", "b=2"]).and(edits(&["a=3", "c=4"]));
        assert_eq!(both.set, ["b=2", "a=3", "c=4"]);
    }
}
