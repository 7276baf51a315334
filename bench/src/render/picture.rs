//! The times as a picture: a line each, on a logarithmic scale, beside what they were measured in turns with.

use std::fmt::Write as _;

use super::{times, value};
use crate::groups::GROUPS;
use crate::results::Results;
use crate::row::{Beside, Budget, Figure, Kind, Row, Unit};

const WIDTH: f64 = 880.0;
/// Titles end, and the scale begins.
const LEFT: f64 = 400.0;
const RIGHT: f64 = 720.0;
/// Where the figures' columns end.
const MEDIANS: f64 = 800.0;
const RATIOS: f64 = 868.0;
const LINE: f64 = 25.0;
const FONT: &str = "-apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif";

#[derive(Debug, Clone, Copy)]
pub(super) enum Theme {
    Light,
    Dark,
}

struct Colours {
    text: &'static str,
    quiet: &'static str,
    grid: &'static str,
    ours: &'static str,
    budget: &'static str,
}

impl Theme {
    fn colours(self) -> Colours {
        match self {
            Self::Light => Colours {
                text: "#1f2328",
                quiet: "#59636e",
                grid: "#d1d9e0",
                ours: "#0969da",
                budget: "#bc4c00",
            },
            Self::Dark => Colours {
                text: "#e6edf3",
                quiet: "#9198a1",
                grid: "#3d444d",
                ours: "#4493f8",
                budget: "#f0883e",
            },
        }
    }
}

/// The whole picture. Only what was measured in milliseconds, and beside something, is in it.
pub(super) fn picture(results: &Results, theme: Theme) -> String {
    let mut drawing = Drawing { colours: theme.colours(), body: String::new(), y: 12.0 };
    let of = |kind: Kind| -> Vec<Line<'_>> {
        results.rows.iter().filter_map(Line::of).filter(|line| line.beside.kind == kind).collect()
    };
    drawing.floors(&of(Kind::Floor));
    drawing.peers(&of(Kind::Peer));
    let Drawing { body, y, .. } = drawing;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" width=\"{WIDTH}\" height=\"{y}\" \
         font-family=\"{FONT}\" font-size=\"13\">\n{body}</svg>\n"
    )
}

/// A row that can be drawn.
struct Line<'a> {
    row: &'a Row,
    figure: Figure,
    beside: &'a Beside,
    ratio: f64,
}

impl<'a> Line<'a> {
    fn of(row: &'a Row) -> Option<Self> {
        let (figure, beside, ratio) = (row.figure()?, row.beside.as_ref()?, row.ratio()?);
        (row.unit == Unit::Milliseconds).then_some(Self { row, figure, beside, ratio })
    }

    /// What the median is allowed to be.
    fn allowed(&self) -> Option<f64> {
        match self.row.budget? {
            Budget::AtMost(most) | Budget::AtMostWithP95(most, _) => Some(most),
            Budget::TimesFloor(most) => Some(self.beside.figure.median * most),
            Budget::TimesBetter(least) => Some(self.beside.figure.median / least),
            Budget::AtLeast(_) => None,
        }
    }

    fn values(&self) -> impl Iterator<Item = f64> {
        [self.figure.median, self.figure.p95, self.beside.figure.median].into_iter().chain(self.allowed())
    }
}

/// From a time to its place.
struct Scale {
    /// Powers of ten, in milliseconds.
    first: i32,
    last: i32,
}

impl Scale {
    #[expect(clippy::cast_possible_truncation, reason = "powers of ten of times are small")]
    fn of(lines: &[Line<'_>]) -> Self {
        let values = || lines.iter().flat_map(Line::values).filter(|value| *value > 0.0).map(f64::log10);
        let (least, most) = (values().fold(0.0, f64::min), values().fold(0.0, f64::max));
        Self { first: least.floor() as i32, last: (most.ceil() as i32).max(least.floor() as i32 + 1) }
    }

    fn x(&self, value: f64) -> f64 {
        let part = (value.log10() - f64::from(self.first)) / f64::from(self.last - self.first);
        LEFT + part.clamp(0.0, 1.0) * (RIGHT - LEFT)
    }
}

struct Drawing {
    colours: Colours,
    body: String,
    /// How far down we are.
    y: f64,
}

impl Drawing {
    fn floors(&mut self, lines: &[Line<'_>]) {
        if lines.is_empty() {
            return;
        }
        self.legend();
        let scale = Scale::of(lines);
        self.head(&scale, lines.len() + groups_of(lines).count(), "median", "× floor");
        for group in groups_of(lines) {
            self.title(group);
            for line in lines.iter().filter(|line| line.row.group == group) {
                self.floor(&scale, line);
            }
        }
        self.y += 18.0;
    }

    /// What the marks are.
    fn legend(&mut self) {
        let (y, colours) = (self.y + 8.0, &self.colours);
        let (ours, quiet, budget) = (colours.ours, colours.quiet, colours.budget);
        let mut x = LEFT;
        let mut marks = Vec::new();
        for (mark, name, width) in [
            (circle(x + 5.0, y, quiet, true), "floor", 62.0),
            (circle(x + 67.0, y, ours, false), "median", 75.0),
            (tick(x + 142.0, y, 5.0, 2.0, ours), "95th percentile", 118.0),
            (tick(x + 260.0, y, 8.0, 3.0, budget), "budget", 60.0),
        ] {
            marks.push((mark, x + 13.0, name));
            x += width;
        }
        for (mark, x, name) in marks {
            self.body.push_str(&mark);
            self.text(x, y + 4.5, "start", quiet, 12, name);
        }
        self.y += 34.0;
    }

    fn floor(&mut self, scale: &Scale, line: &Line<'_>) {
        let (y, colours) = (self.y + LINE / 2.0, &self.colours);
        let (floor, median) = (scale.x(line.beside.figure.median), scale.x(line.figure.median));
        let (text, quiet, ours, budget) = (colours.text, colours.quiet, colours.ours, colours.budget);
        self.body.push_str(&stroke(beyond(floor, median), median, y, quiet));
        if line.figure.runs > 1 {
            let p95 = scale.x(line.figure.p95);
            self.body.push_str(&stroke(median, p95, y, ours));
            self.body.push_str(&tick(p95, y, 5.0, 2.0, ours));
        }
        if let Some(allowed) = line.allowed() {
            self.body.push_str(&tick(scale.x(allowed), y, 8.0, 3.0, budget));
        }
        self.body.push_str(&circle(floor, y, quiet, true));
        self.body.push_str(&circle(median, y, ours, false));
        self.text(LEFT - 16.0, y + 4.5, "end", text, 13, &line.row.what);
        self.text(MEDIANS, y + 4.5, "end", text, 13, &value(Unit::Milliseconds, line.figure.median));
        self.text(RATIOS, y + 4.5, "end", quiet, 13, &times(line.ratio));
        self.y += LINE;
    }

    fn peers(&mut self, lines: &[Line<'_>]) {
        let Some(first) = lines.first() else { return };
        let scale = Scale::of(lines);
        let (ours, quiet) = (self.colours.ours, self.colours.quiet);
        let (x, y) = (scale.x(first.figure.median), self.y + 12.0);
        self.text(x, y, "middle", ours, 12, "belljar");
        // Its versions are in the table.
        let peer = first.beside.what.split(' ').next().unwrap_or_default().to_owned();
        self.text(scale.x(first.beside.figure.median), y, "middle", quiet, 12, &peer);
        self.y += 26.0;
        self.head(&scale, lines.len() + groups_of(lines).count(), "median", "faster");
        for group in groups_of(lines) {
            self.title(group);
            for line in lines.iter().filter(|line| line.row.group == group) {
                self.peer(&scale, line);
            }
        }
        self.y += 10.0;
    }

    fn peer(&mut self, scale: &Scale, line: &Line<'_>) {
        let (y, colours) = (self.y + LINE / 2.0, &self.colours);
        let (text, quiet, ours, budget) = (colours.text, colours.quiet, colours.ours, colours.budget);
        let (median, theirs) = (scale.x(line.figure.median), scale.x(line.beside.figure.median));
        self.body.push_str(&stroke(beyond(theirs, median), median, y, quiet));
        if let Some(allowed) = line.allowed() {
            self.body.push_str(&tick(scale.x(allowed), y, 8.0, 3.0, budget));
        }
        self.body.push_str(&circle(theirs, y, quiet, true));
        self.body.push_str(&circle(median, y, ours, false));
        self.text(LEFT - 16.0, y + 4.5, "end", text, 13, &line.row.what);
        let ms = |number| value(Unit::Milliseconds, number);
        self.text(MEDIANS, y + 4.5, "end", text, 13, &ms(line.figure.median));
        self.text(theirs + 10.0, y + 4.5, "start", quiet, 12, &ms(line.beside.figure.median));
        self.text(RATIOS, y + 4.5, "end", text, 13, &times(line.ratio));
        self.y += LINE;
    }

    /// The scale, over so many lines, and the names of the columns.
    fn head(&mut self, scale: &Scale, lines: usize, middle: &str, right: &str) {
        let (grid, quiet) = (self.colours.grid, self.colours.quiet);
        let (top, height) = (self.y, f64::from(u32::try_from(lines).unwrap_or_default()) * LINE);
        for power in scale.first..=scale.last {
            let x = scale.x(10_f64.powi(power));
            let line = format!(
                "<path d=\"M{x:.1} {:.1}V{:.1}\" stroke=\"{grid}\"/>\n",
                top + 6.0,
                top + LINE / 2.0 + height
            );
            self.body.push_str(&line);
            self.text(x, top, "middle", quiet, 12, &decade(power));
        }
        self.text(MEDIANS, top, "end", quiet, 12, middle);
        self.text(RATIOS, top, "end", quiet, 12, right);
        self.y += LINE / 2.0;
    }

    fn title(&mut self, group: &str) {
        let about = GROUPS.iter().find(|one| one.name == group).map_or(group, |one| one.heading);
        let colour = self.colours.text;
        let y = self.y + LINE / 2.0 + 4.5;
        let text = format!(
            "<text x=\"0\" y=\"{y:.1}\" fill=\"{colour}\" font-weight=\"600\">{}</text>\n",
            escaped(about)
        );
        self.body.push_str(&text);
        self.y += LINE;
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, colour: &str, size: u8, text: &str) {
        let text = escaped(text);
        // Writing to a string cannot fail.
        let _ = writeln!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\" font-size=\"{size}\">{text}</text>"
        );
    }
}

/// In their order, each once.
fn groups_of<'a>(lines: &'a [Line<'_>]) -> impl Iterator<Item = &'a str> {
    GROUPS.iter().map(|group| group.name).filter(|name| lines.iter().any(|line| line.row.group == *name))
}

fn decade(power: i32) -> String {
    match power {
        ..0 => format!("{} µs", 10_f64.powi(power + 3)),
        0..3 => format!("{} ms", 10_f64.powi(power)),
        _ => format!("{} s", 10_f64.powi(power - 3)),
    }
}

fn circle(x: f64, y: f64, colour: &str, hollow: bool) -> String {
    let fill = if hollow { "none" } else { colour };
    format!(
        "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\" fill=\"{fill}\" stroke=\"{colour}\" stroke-width=\"1.5\"/>\n"
    )
}

fn tick(x: f64, y: f64, half: f64, width: f64, colour: &str) -> String {
    let (top, bottom) = (y - half, y + half);
    format!("<path d=\"M{x:.1} {top:.1}V{bottom:.1}\" stroke=\"{colour}\" stroke-width=\"{width}\"/>\n")
}

fn stroke(from: f64, to: f64, y: f64, colour: &str) -> String {
    format!("<path d=\"M{from:.1} {y:.1}H{to:.1}\" stroke=\"{colour}\" stroke-width=\"1.5\"/>\n")
}

/// Where a line begins that leads from a hollow circle to another place.
fn beyond(circle: f64, to: f64) -> f64 {
    if to > circle { (circle + 5.0).min(to) } else { (circle - 5.0).max(to) }
}

/// What is code on the page is plain in a picture.
fn escaped(text: &str) -> String {
    text.replace('`', "").replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these come out exactly, or are wrong")]
mod tests {
    use super::*;
    use crate::results::sample;

    #[test]
    fn a_picture_of_each_theme() {
        insta::assert_snapshot!(picture(&sample(), Theme::Light));
        let dark = picture(&sample(), Theme::Dark);
        assert!(!dark.contains(Theme::Light.colours().text));
    }

    #[test]
    fn the_scale_is_logarithmic_and_holds_everything() {
        let row = sample().rows.remove(0);
        let lines = [Line::of(&row).unwrap()];
        let scale = Scale::of(&lines);
        assert_eq!((scale.first, scale.last), (0, 1));
        assert_eq!(scale.x(1.0), LEFT);
        assert_eq!(scale.x(10.0), RIGHT);
        assert!((scale.x(10_f64.sqrt()) - f64::midpoint(LEFT, RIGHT)).abs() < 1e-9);
    }
}
