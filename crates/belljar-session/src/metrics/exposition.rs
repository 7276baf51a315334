//! The text format in which metrics are told to Prometheus (version 0.0.4): read strictly, joined family by family,
//! and written with each family once.

use std::collections::HashMap;
use std::fmt::Write as _;

/// The metrics of many sources.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    families: Vec<Family>,
    places: HashMap<String, usize>,
}

/// All samples of one name, with what is said of them.
#[derive(Debug, Default)]
struct Family {
    name: String,
    help: Option<String>,
    kind: Option<String>,
    /// Two sources do not agree on its kind: then it has none.
    disputed: bool,
    /// Whole lines.
    samples: Vec<String>,
}

/// A text that is not in the format.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub(crate) struct FormatError {
    line: usize,
    why: &'static str,
}

/// One line that has something to say.
#[derive(Debug, PartialEq)]
enum Line<'a> {
    Help { name: &'a str, text: &'a str },
    Kind { name: &'a str, kind: &'a str },
    Sample { name: &'a str, labels: Vec<(&'a str, &'a str)>, value: &'a str },
}

const KINDS: &[&str] = &["counter", "gauge", "histogram", "summary", "untyped"];

impl Exposition {
    /// Takes in what a source tells, each sample with these labels besides its own. A source that tells anything
    /// wrong is not taken in at all.
    pub(crate) fn add(&mut self, text: &str, labels: &[(&str, String)]) -> Result<(), FormatError> {
        let mut lines = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            lines.extend(read(line).map_err(|why| FormatError { line: number, why })?);
        }
        let mut kinds: HashMap<&str, &str> = HashMap::new();
        for line in lines {
            match line {
                Line::Help { name, text } => {
                    self.family(name).help.get_or_insert_with(|| text.to_owned());
                }
                Line::Kind { name, kind } => {
                    kinds.entry(name).or_insert(kind);
                    let family = self.family(name);
                    family.disputed |= family.kind.as_deref().is_some_and(|known| known != kind);
                    family.kind.get_or_insert_with(|| kind.to_owned());
                }
                Line::Sample { name, labels: own, value } => {
                    let family = family_of(name, &kinds).to_owned();
                    let text = sample(name, &own, labels, value);
                    self.family(&family).samples.push(text);
                }
            }
        }
        Ok(())
    }

    /// One sample of our own.
    pub(crate) fn own(&mut self, name: &str, kind: &str, help: &str, labels: &[(&str, String)], value: f64) {
        let text = sample(name, &[], labels, &value.to_string());
        let family = self.family(name);
        family.help.get_or_insert_with(|| help.to_owned());
        family.kind.get_or_insert_with(|| kind.to_owned());
        family.samples.push(text);
    }

    fn family(&mut self, name: &str) -> &mut Family {
        let next = self.families.len();
        let place = *self.places.entry(name.to_owned()).or_insert(next);
        if place == next {
            self.families.push(Family { name: name.to_owned(), ..Family::default() });
        }
        &mut self.families[place]
    }

    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        for family in self.families.iter().filter(|family| !family.samples.is_empty()) {
            let Family { name, help, kind, disputed, samples } = family;
            if let Some(help) = help {
                let _ = writeln!(text, "# HELP {name} {help}");
            }
            if let Some(kind) = kind.as_ref().filter(|_| !disputed) {
                let _ = writeln!(text, "# TYPE {name} {kind}");
            }
            for sample in samples {
                text.push_str(sample);
                text.push('\n');
            }
        }
        text
    }
}

/// The family that a sample belongs to: its own name's, or that of the histogram or summary which it is a part of.
fn family_of<'a>(name: &'a str, kinds: &HashMap<&str, &str>) -> &'a str {
    if kinds.contains_key(name) {
        return name;
    }
    let parts = [
        ("_bucket", &["histogram"][..]),
        ("_sum", &["histogram", "summary"]),
        ("_count", &["histogram", "summary"]),
    ];
    parts
        .iter()
        .find_map(|(suffix, of)| {
            let family = name.strip_suffix(suffix)?;
            kinds.get(family).is_some_and(|kind| of.contains(kind)).then_some(family)
        })
        .unwrap_or(name)
}

/// The line of a sample. What a source itself calls as one of our labels is called `exported_…`, as Prometheus does.
fn sample(name: &str, own: &[(&str, &str)], labels: &[(&str, String)], value: &str) -> String {
    let mut text = format!("{name}{{");
    for (label, value) in own {
        let exported = if labels.iter().any(|(ours, _)| ours == label) { "exported_" } else { "" };
        // As it was told, with its backslashes.
        let _ = write!(text, "{exported}{label}=\"{value}\",");
    }
    for (label, value) in labels {
        let value = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
        let _ = write!(text, "{label}=\"{value}\",");
    }
    if text.ends_with(',') {
        text.pop();
    }
    let _ = write!(text, "}} {value}");
    text
}

/// Reads one line. Nothing, where it is empty or a comment.
fn read(line: &str) -> Result<Option<Line<'_>>, &'static str> {
    let line = line.trim_matches([' ', '\t', '\r']);
    if let Some(comment) = line.strip_prefix('#') {
        return read_comment(comment.trim_start_matches([' ', '\t']));
    }
    if line.is_empty() {
        return Ok(None);
    }
    let (name, rest) = split_name(line, |c| c.is_ascii_alphanumeric() || c == '_' || c == ':')?;
    let rest = rest.trim_start_matches([' ', '\t']);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => read_labels(rest)?,
        None => (Vec::new(), rest),
    };
    let value = rest.trim_matches([' ', '\t']);
    let mut words = value.split([' ', '\t']).filter(|word| !word.is_empty());
    words
        .next()
        .ok_or("a sample without a value")?
        .parse::<f64>()
        .map_err(|_| "the value is not a number")?;
    if let Some(time) = words.next() {
        time.parse::<i64>().map_err(|_| "the time is not a number of milliseconds")?;
    }
    if words.next().is_some() {
        return Err("something stands after the sample");
    }
    Ok(Some(Line::Sample { name, labels, value }))
}

fn read_comment(comment: &str) -> Result<Option<Line<'_>>, &'static str> {
    let (word, rest) = comment.split_once([' ', '\t']).unwrap_or((comment, ""));
    if word != "HELP" && word != "TYPE" {
        return Ok(None);
    }
    let (name, rest) = split_name(rest.trim_start_matches([' ', '\t']), |c| {
        c.is_ascii_alphanumeric() || c == '_' || c == ':'
    })?;
    let text = rest.trim_start_matches([' ', '\t']);
    if word == "HELP" {
        return Ok(Some(Line::Help { name, text }));
    }
    if KINDS.contains(&text) {
        Ok(Some(Line::Kind { name, kind: text }))
    } else {
        Err("no such kind of metric")
    }
}

/// What stands between the braces, and what after them.
#[expect(clippy::type_complexity, reason = "it is read once, right where it is made")]
fn read_labels(mut rest: &str) -> Result<(Vec<(&str, &str)>, &str), &'static str> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Ok((labels, rest));
        }
        let (name, after) = split_name(rest, |c| c.is_ascii_alphanumeric() || c == '_')?;
        let after = after.trim_start_matches([' ', '\t']).strip_prefix('=').ok_or("a label without `=`")?;
        let after =
            after.trim_start_matches([' ', '\t']).strip_prefix('"').ok_or("a label without a quote")?;
        let end = end_of_quoted(after)?;
        labels.push((name, &after[..end]));
        rest = after[end + 1..].trim_start_matches([' ', '\t']);
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None if rest.starts_with('}') => {}
            None => return Err("labels are parted by `,`"),
        }
    }
}

/// Where the closing quote stands.
fn end_of_quoted(text: &str) -> Result<usize, &'static str> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'\\' | b'"' | b'n' if escaped => escaped = false,
            _ if escaped => return Err("an unknown escape in a label"),
            b'\\' => escaped = true,
            b'"' => return Ok(at),
            _ => {}
        }
    }
    Err("a label without its closing quote")
}

fn split_name(text: &str, fits: impl Fn(char) -> bool) -> Result<(&str, &str), &'static str> {
    let end = text.find(|c| !fits(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("a name was expected");
    }
    Ok((name, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(replica: &str) -> Vec<(&'static str, String)> {
        vec![("replica", replica.to_owned())]
    }

    #[test]
    fn families_of_many_sources_stand_together_with_one_head() {
        let text = "# HELP hits How often.\n# TYPE hits counter\nhits{code=\"200\"} 3\nhits 1 1700000000000\n\n\
                    # TYPE took histogram\ntook_bucket{le=\"+Inf\"} 2\ntook_sum 1.5\ntook_count 2\n# a comment\n\
                    loose_count 7\n";
        let mut all = Exposition::default();
        all.add(text, &labels("a-1")).unwrap();
        all.add(text, &labels("a-2")).unwrap();
        all.own("up", "gauge", "Whether.", &labels("a-1"), 1.0);
        let expected = "\
# HELP hits How often.
# TYPE hits counter
hits{code=\"200\",replica=\"a-1\"} 3
hits{replica=\"a-1\"} 1 1700000000000
hits{code=\"200\",replica=\"a-2\"} 3
hits{replica=\"a-2\"} 1 1700000000000
# TYPE took histogram
took_bucket{le=\"+Inf\",replica=\"a-1\"} 2
took_sum{replica=\"a-1\"} 1.5
took_count{replica=\"a-1\"} 2
took_bucket{le=\"+Inf\",replica=\"a-2\"} 2
took_sum{replica=\"a-2\"} 1.5
took_count{replica=\"a-2\"} 2
loose_count{replica=\"a-1\"} 7
loose_count{replica=\"a-2\"} 7
# HELP up Whether.
# TYPE up gauge
up{replica=\"a-1\"} 1
";
        assert_eq!(all.render(), expected);
    }

    #[test]
    fn a_label_that_is_ours_is_exported_and_escapes_stay() {
        let mut all = Exposition::default();
        all.add("x{replica=\"theirs\", path=\"a\\\"b\\\\c\" , } NaN", &labels("q\"\\\n")).unwrap();
        assert_eq!(
            all.render(),
            "x{exported_replica=\"theirs\",path=\"a\\\"b\\\\c\",replica=\"q\\\"\\\\\\n\"} NaN\n"
        );
    }

    #[test]
    fn a_family_of_two_kinds_has_none() {
        let mut all = Exposition::default();
        all.add("# TYPE x counter\nx 1\n", &labels("a")).unwrap();
        all.add("# TYPE x gauge\nx 2\n", &labels("b")).unwrap();
        assert_eq!(all.render(), "x{replica=\"a\"} 1\nx{replica=\"b\"} 2\n");
    }

    #[test]
    fn a_source_with_a_fault_is_left_out_whole() {
        let bad = [
            ("<html>", "a name was expected"),
            ("x", "a sample without a value"),
            ("x one", "the value is not a number"),
            ("x 1 soon", "the time is not a number of milliseconds"),
            ("x 1 2 3", "something stands after the sample"),
            ("x{a=1} 1", "a label without a quote"),
            ("x{a \"b\"} 1", "a label without `=`"),
            ("x{a=\"b} 1", "a label without its closing quote"),
            ("x{a=\"\\t\"} 1", "an unknown escape in a label"),
            ("x{a=\"b\" c=\"d\"} 1", "labels are parted by `,`"),
            ("# TYPE x blob", "no such kind of metric"),
            ("9x 1", "a name was expected"),
        ];
        for (line, why) in bad {
            let mut all = Exposition::default();
            let error = all.add(&format!("good 1\n{line}\n"), &[]).unwrap_err();
            assert_eq!(error, FormatError { line: 2, why }, "{line}");
            assert_eq!(all.render(), "", "{line}");
        }
    }
}
