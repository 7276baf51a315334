//! A layout as an SVG document that stands by itself: no font, script or style from elsewhere. Its colours follow
//! what its reader prefers, light or dark, and nothing is told by colour alone.

use std::fmt::Write as _;

use belljar_stack::plan::Condition;

use super::layout::{
    CARD, FOOT, LINE, Layout, MARGIN, NAME_CHAR, PADDING, Rect, TEXT_CHAR, cards, lines, short,
};
use super::{Graph, Kind, Node, word};

/// Spelled out for both preferences, because not every renderer knows CSS variables.
const STYLE: &str = "\
    text { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace; fill: #1f2328 }
    .title { font-size: 20px; font-weight: 600 }
    .name { font-size: 15px; font-weight: 600 }
    .text, .label, .legend { font-size: 12px }
    .text, .label, .legend, .count { fill: #57606a }
    .page { fill: #ffffff }
    .card { fill: #f6f8fa; stroke: #8c959f; stroke-width: 1.25 }
    .recipe .mark { fill: #0969da }
    .service .mark { fill: #1a7f37 }
    .task .mark { fill: #9a6700 }
    .task .card { stroke-dasharray: 5 3 }
    .edge { fill: none; stroke: #6e7781; stroke-width: 1.5 }
    .started { stroke-dasharray: 2 4 }
    .tip { fill: #6e7781 }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 }
      .text, .label, .legend, .count { fill: #9da7b3 }
      .page { fill: #0d1117 }
      .card { fill: #161b22; stroke: #6e7681 }
      .recipe .mark { fill: #4493f8 }
      .service .mark { fill: #3fb950 }
      .task .mark { fill: #d29922 }
      .edge { stroke: #848d97 }
      .tip { fill: #848d97 }
    }
";

/// The same, for the markers of lines.
const MARKS: &[(Kind, &str, &str)] = &[
    (Kind::Recipe, "recipe", "service of a recipe"),
    (Kind::Service, "service", "service"),
    (Kind::Task, "task", "task, which ends"),
];

pub(super) fn document(graph: &Graph, layout: &Layout) -> String {
    let (width, height) = (layout.width, layout.height);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-labelledby=\"title what\">\n"
    );
    let _ = writeln!(svg, "  <title id=\"title\">The stack {}</title>", escaped(&graph.title));
    let _ = writeln!(svg, "  <desc id=\"what\">{}</desc>", escaped(&in_words(graph)));
    let _ = writeln!(svg, "  <style>\n{STYLE}  </style>");
    svg.push_str(
        "  <defs><marker id=\"tip\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"8\" \
         markerHeight=\"8\" orient=\"auto-start-reverse\"><path class=\"tip\" d=\"M0 0 L10 5 L0 10 z\"/></marker></defs>\n",
    );
    let _ = writeln!(svg, "  <rect class=\"page\" width=\"{width:.0}\" height=\"{height:.0}\" rx=\"8\"/>");
    text(&mut svg, "title", MARGIN, 40.0, &graph.title);
    for (edge, points) in graph.edges.iter().zip(&layout.edges) {
        let style = if edge.condition == Condition::Started { "edge started" } else { "edge" };
        let _ = writeln!(svg, "  <path class=\"{style}\" d=\"{}\" marker-end=\"url(#tip)\"/>", path(points));
        if let [.., (label, y), _] = points[..] {
            text(&mut svg, "label", label + 1.0, y - 4.0, word(edge.condition));
        }
    }
    for (one, place) in graph.nodes.iter().zip(&layout.nodes) {
        node(&mut svg, one, *place);
    }
    legend(&mut svg, height - FOOT + 30.0);
    svg.push_str("</svg>\n");
    svg
}

fn node(svg: &mut String, node: &Node, place: Rect) {
    let class = MARKS.iter().find(|(kind, _, _)| *kind == node.kind).map_or("service", |(_, class, _)| class);
    let _ = writeln!(svg, "  <g class=\"{class}\">");
    let told = format!("{}: {}; {}", node.name, node.runs, node.ready);
    let _ = writeln!(svg, "    <title>{}</title>", escaped(&told));
    let Rect { x, y, width, height } = place;
    for card in (0..cards(node)).rev() {
        let offset = CARD * f64::from(u8::try_from(card).unwrap_or_default());
        let (x, y) = (x + offset, y + offset);
        let _ = writeln!(
            svg,
            "    <rect class=\"card\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"6\"/>"
        );
    }
    let _ = writeln!(
        svg,
        "    <rect class=\"mark\" x=\"{:.1}\" y=\"{:.1}\" width=\"4\" height=\"{:.1}\" rx=\"2\"/>",
        x + 4.0,
        y + 6.0,
        height - 12.0
    );
    let lines = lines(node);
    let content = 20.0 + LINE * f64::from(u32::try_from(lines.len()).unwrap_or_default());
    let mut line = y + (height - content) / 2.0 + 14.0;
    text(svg, "name", x + PADDING, line, &short(&node.name));
    if node.replicas > 1 {
        let count = format!("×{}", node.replicas);
        let right = x + width
            - PADDING
            - NAME_CHAR * f64::from(u32::try_from(count.chars().count()).unwrap_or_default());
        let _ =
            writeln!(svg, "    <text class=\"name count\" x=\"{right:.1}\" y=\"{line:.1}\">{count}</text>");
    }
    line += 2.0;
    for one in &lines {
        line += LINE;
        text(svg, "text", x + PADDING, line, one);
    }
    svg.push_str("  </g>\n");
}

fn text(svg: &mut String, class: &str, x: f64, y: f64, words: &str) {
    let _ = writeln!(svg, "    <text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escaped(words));
}

/// Straight pieces, joined by curves that leave and arrive level.
fn path(points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (index, &(x, y)) in points.iter().enumerate() {
        if index == 0 {
            let _ = write!(path, "M{x:.1} {y:.1}");
            continue;
        }
        let (from_x, from_y) = points[index - 1];
        if (from_y - y).abs() < 0.05 {
            let _ = write!(path, " H{x:.1}");
        } else {
            let half = f64::midpoint(from_x, x);
            let _ = write!(path, " C{half:.1} {from_y:.1} {half:.1} {y:.1} {x:.1} {y:.1}");
        }
    }
    path
}

fn legend(svg: &mut String, y: f64) {
    let mut x = MARGIN;
    let advance =
        |words: &str| TEXT_CHAR * f64::from(u32::try_from(words.chars().count()).unwrap_or_default());
    for (_, class, words) in MARKS {
        let _ = writeln!(
            svg,
            "  <g class=\"{class}\"><rect class=\"mark\" x=\"{x:.1}\" y=\"{:.1}\" width=\"4\" height=\"14\" rx=\"2\"/></g>",
            y - 11.0
        );
        text(svg, "legend", x + 10.0, y, words);
        x += 10.0 + advance(words) + 22.0;
    }
    let words = "starts once this holds";
    let _ = writeln!(
        svg,
        "  <path class=\"edge\" d=\"M{x:.1} {:.1} H{:.1}\" marker-end=\"url(#tip)\"/>",
        y - 4.0,
        x + 30.0
    );
    text(svg, "legend", x + 38.0, y, words);
}

/// The picture for those who do not see it.
fn in_words(graph: &Graph) -> String {
    let name = |node: usize| graph.nodes[node].name.as_str();
    let mut words: Vec<String> = graph
        .nodes
        .iter()
        .map(|node| match node.replicas {
            1 => node.name.clone(),
            count => format!("{} with {count} replicas", node.name),
        })
        .collect();
    words.extend(graph.edges.iter().map(|edge| {
        format!("{} comes after {} is {}", name(edge.to), name(edge.from), word(edge.condition))
    }));
    words.join("; ")
}

fn escaped(text: &str) -> String {
    text.chars()
        .map(|letter| match letter {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '"' => "&quot;".to_owned(),
            // Not to be written in XML at all.
            other if other.is_control() => " ".to_owned(),
            other => other.to_string(),
        })
        .collect()
}
