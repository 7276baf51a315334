//! As much of Markdown as the chores need: fenced blocks, headings, links.

/// A page, line by line, each with what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// Prose, a heading, a list.
    Text(&'a str),
    /// The opening fence with its language.
    Open(&'a str),
    /// Inside of a fenced block.
    Code(&'a str),
    Close,
}

pub(crate) fn lines(page: &str) -> Vec<Line<'_>> {
    let mut fence: Option<&str> = None;
    let classify = |line| {
        let trimmed = str::trim_start(line);
        let ticks = &trimmed[..trimmed.len() - trimmed.trim_start_matches('`').len()];
        match fence {
            Some(open) if ticks.len() >= open.len() && trimmed.trim_end() == ticks => {
                fence = None;
                Line::Close
            }
            Some(_) => Line::Code(line),
            None if ticks.len() >= 3 => {
                fence = Some(ticks);
                Line::Open(trimmed[ticks.len()..].trim())
            }
            None => Line::Text(line),
        }
    };
    page.lines().map(classify).collect()
}

/// The targets of the inline links of a line of prose: `[text](target)`. Code spans hold none.
pub(crate) fn links(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (index, part) in line.split('`').enumerate() {
        if index % 2 == 1 {
            continue;
        }
        let mut rest = part;
        while let Some(start) = rest.find("](") {
            rest = &rest[start + 2..];
            let Some(end) = rest.find(')') else { break };
            found.push(rest[..end].split(' ').next().unwrap_or_default());
            rest = &rest[end..];
        }
    }
    found
}

/// What a heading is linked to by, as GitHub makes it.
pub(crate) fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_told_from_prose() {
        let page = "# One\n```sh\n# no heading\n```\n````md\n```\n````\nend";
        let expected = [
            Line::Text("# One"),
            Line::Open("sh"),
            Line::Code("# no heading"),
            Line::Close,
            Line::Open("md"),
            Line::Code("```"),
            Line::Close,
            Line::Text("end"),
        ];
        assert_eq!(lines(page), expected);
    }

    #[test]
    fn links_are_found_outside_of_code() {
        assert_eq!(links("see [a](b.md), `[no](c.md)` and [d](e.md#f \"title\")"), ["b.md", "e.md#f"]);
    }

    #[test]
    fn anchors_are_githubs() {
        assert_eq!(anchor("## What must *always* hold, `here`"), "what-must-always-hold-here");
    }
}
