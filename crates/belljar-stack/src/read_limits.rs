//! From TOML to declarations: `limits`, which a stack, a service and a task can have.

use toml::de::DeValue;

use crate::keys::Level;
use crate::plan::Limits;
use crate::walk::{Node, Walk};

/// More processes than a machine has numbers for are no limit.
pub(crate) const MAX_PIDS: u32 = 4_194_304;
/// Processors. Less than the hundredth part of one is less than the kernel measures.
pub(crate) const CPUS: std::ops::RangeInclusive<f64> = 0.01..=1024.0;
/// A program does not even start with less.
const LEAST_MEMORY: u64 = 1 << 20;
const UNITS: &[(&str, u32)] = &[("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];

impl Walk {
    pub(crate) fn limits(&mut self, node: Option<&Node<'_>>) -> Limits {
        let expected = "a table such as { pids = 200, memory = \"512MiB\", cpu = 0.5 }";
        let Some(table) = node.and_then(|node| self.keyed_table(node, Level::Limits, expected)) else {
            return Limits::default();
        };
        Limits {
            pids: table.get("pids").and_then(|node| self.number(node, 1..=MAX_PIDS)),
            memory: table.get("memory").and_then(|node| self.memory(node)),
            cpu: table.get("cpu").and_then(|node| self.processors(node)),
        }
    }

    /// An amount of memory, in bytes.
    fn memory(&mut self, node: &Node<'_>) -> Option<u64> {
        let text = self.string(node, "a string: an amount of memory, such as \"512MiB\"")?;
        let bytes = bytes(&text.value);
        if bytes.is_none() {
            let message = format!("`{}` is not an amount of memory", text.value);
            let label = "expected a whole number and one of KiB, MiB, GiB, TiB, at least \"1MiB\"";
            self.fault(&text.place, message, label);
        }
        bytes
    }

    /// A number of processors, in thousandths.
    fn processors(&mut self, node: &Node<'_>) -> Option<u32> {
        let expected = format!("a number of processors from {} to {}", CPUS.start(), CPUS.end());
        let number: Option<f64> = match node.value {
            DeValue::Integer(integer) => integer.as_str().parse().ok(),
            DeValue::Float(float) => float.as_str().parse().ok(),
            _ => return self.wrong_type(node, &expected),
        };
        let thousandths = number.filter(|number| CPUS.contains(number)).map(thousandths);
        if thousandths.is_none() {
            let raw = node.place.raw().to_owned();
            self.fault(&node.place, format!("{raw} is out of range"), format!("expected {expected}"));
        }
        thousandths
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the number was found to be in a range that fits"
)]
fn thousandths(number: f64) -> u32 {
    (number * 1000.0).round() as u32
}

fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, shift) = UNITS.iter().find(|(name, _)| *name == unit.trim_start())?;
    let bytes = number.parse::<u64>().ok()?.checked_mul(1 << shift)?;
    (LEAST_MEMORY..=i64::MAX.unsigned_abs()).contains(&bytes).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn amounts_of_memory() {
        for (text, expected) in [
            ("512MiB", Some(512 << 20)),
            ("2 GiB", Some(2 << 30)),
            ("1024KiB", Some(1 << 20)),
            ("1TiB", Some(1 << 40)),
            ("512", None),
            ("512MB", None),
            ("1.5GiB", None),
            ("1KiB", None),
            ("0MiB", None),
            ("-1MiB", None),
            ("99999999999TiB", None),
            ("", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }
}
