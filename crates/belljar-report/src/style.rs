//! Colours, where they are wanted, and text from elsewhere made safe to show.

/// Whether and how to colour.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    pub(crate) colours: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    Green,
    Red,
    Yellow,
    Dim,
}

impl Style {
    pub(crate) fn paint(self, colour: Colour, text: &str) -> String {
        if !self.colours {
            return text.to_owned();
        }
        let code = match colour {
            Colour::Green => "32",
            Colour::Red => "31",
            Colour::Yellow => "33",
            Colour::Dim => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// A line that somebody else wrote, without what would move the cursor or change colours.
pub(crate) fn harmless(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\x1b' => {
                // `ESC [`, parameters, and one letter that ends it; or `ESC` and one letter.
                if letters.next_if_eq(&'[').is_some() {
                    while letters.next_if(|next| !('\x40'..='\x7e').contains(next)).is_some() {}
                }
                letters.next();
            }
            '\t' => text.push('\t'),
            letter if letter.is_control() => {}
            letter => text.push(letter),
        }
    }
    text
}

/// At most `width` letters of it; where some are missing, the last says so.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::{Colour, Style, cut, harmless};

    #[test]
    fn colours_only_where_they_are_wanted() {
        assert_eq!(Style { colours: false }.paint(Colour::Red, "x"), "x");
        assert_eq!(Style { colours: true }.paint(Colour::Red, "x"), "\x1b[31mx\x1b[0m");
    }

    #[test]
    fn nothing_that_moves_the_cursor_is_left() {
        assert_eq!(harmless("\x1b[1;31mred\x1b[0m\tand\x1b[2J \x1bcplain\r\x07"), "red\tand plain");
        assert_eq!(harmless("cut off \x1b["), "cut off ");
    }

    #[test]
    fn long_lines_are_cut() {
        assert_eq!(cut("twelve", 6), "twelve");
        assert_eq!(cut("twelve", 5), "twel…");
    }
}
