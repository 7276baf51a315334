//! A graph as source for Graphviz, for those who draw it their own way.

use std::fmt::Write as _;

use belljar_stack::plan::Condition;

use super::layout::lines;
use super::{Graph, Kind, word};

pub(super) fn document(graph: &Graph) -> String {
    let mut dot = format!("digraph {} {{\n", quoted(&graph.title));
    dot.push_str("  rankdir = LR;\n  node [shape = box, style = rounded, fontname = monospace];\n");
    dot.push_str("  edge [fontname = monospace, fontsize = 10];\n\n");
    for node in &graph.nodes {
        let count = if node.replicas > 1 { format!(" ×{}", node.replicas) } else { String::new() };
        let mut label = vec![format!("{}{count}", node.name)];
        label.extend(lines(node));
        let style = if node.kind == Kind::Task { ", style = \"rounded,dashed\"" } else { "" };
        let _ = writeln!(
            dot,
            "  {} [label = {}, tooltip = {}{style}];",
            quoted(&node.name),
            quoted(&label.join("\n")),
            quoted(&node.ready)
        );
    }
    dot.push('\n');
    for edge in &graph.edges {
        let style = if edge.condition == Condition::Started { ", style = dotted" } else { "" };
        let _ = writeln!(
            dot,
            "  {} -> {} [label = {}{style}];",
            quoted(&graph.nodes[edge.from].name),
            quoted(&graph.nodes[edge.to].name),
            quoted(word(edge.condition))
        );
    }
    dot.push_str("}\n");
    dot
}

fn quoted(text: &str) -> String {
    let text = text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
    format!("\"{text}\"")
}
