//! Where everything goes: the second half of drawing a graph in layers. Layers are columns, from what starts
//! first on the left to what starts last on the right.

use super::order::{Layers, Spot, order};
use super::{Graph, Kind, Node};

/// Widths of one character: of names, and of what stands below them.
pub(super) const NAME_CHAR: f64 = 9.0;
pub(super) const TEXT_CHAR: f64 = 7.3;
pub(super) const LINE: f64 = 18.0;
pub(super) const PADDING: f64 = 14.0;
/// How far each further card of a stack of replicas shows behind the first.
pub(super) const CARD: f64 = 5.0;
/// The straight end of a line, which its condition stands on.
pub(super) const LABEL: f64 = 78.0;
pub(super) const MARGIN: f64 = 24.0;
/// Above the drawing, for the title.
pub(super) const HEAD: f64 = 64.0;
/// Below it, for the explanations.
pub(super) const FOOT: f64 = 52.0;
const CURVE: f64 = 64.0;
const BETWEEN: f64 = 26.0;
/// The height that a passing line takes.
const PASSAGE: f64 = 20.0;
/// What the explanations need.
const LEAST_WIDTH: f64 = 720.0;
const MOST_TEXT: usize = 34;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rect {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

#[derive(Debug)]
pub(super) struct Layout {
    pub(super) width: f64,
    pub(super) height: f64,
    /// The front card of each node.
    pub(super) nodes: Vec<Rect>,
    /// The points that each edge goes through: pairs of a beginning and an end of a straight piece.
    pub(super) edges: Vec<Vec<(f64, f64)>>,
}

/// What is written on a card below the name, each line short enough.
pub(super) fn lines(node: &Node) -> Vec<String> {
    let kind = match node.kind {
        Kind::Recipe => "recipe ",
        Kind::Service => "",
        Kind::Task => "task: ",
    };
    let first = format!("{kind}{}", node.runs);
    std::iter::once(first).chain(node.ports.iter().cloned()).map(|line| short(&line)).collect()
}

pub(super) fn short(text: &str) -> String {
    if text.chars().count() <= MOST_TEXT {
        return text.to_owned();
    }
    text.chars().take(MOST_TEXT - 1).chain(['…']).collect()
}

/// How many cards are drawn; more than three look no different.
pub(super) fn cards(node: &Node) -> usize {
    node.replicas.clamp(1, 3)
}

#[expect(clippy::cast_precision_loss, reason = "counts of lines and characters are small numbers")]
fn size(node: &Node, incoming: usize) -> (f64, f64) {
    let badge = if node.replicas > 1 { format!("  ×{}", node.replicas) } else { String::new() };
    let name = (short(&node.name).chars().count() + badge.chars().count()) as f64 * NAME_CHAR;
    let lines = lines(node);
    let text = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0) as f64 * TEXT_CHAR;
    let width = (name.max(text) + 2.0 * PADDING).max(120.0);
    let height = (2.0 * PADDING + 20.0 + lines.len() as f64 * LINE).max((incoming + 1) as f64 * PASSAGE);
    (width, height)
}

#[expect(clippy::cast_precision_loss, reason = "there are few cards")]
fn behind(node: &Node) -> f64 {
    (cards(node) - 1) as f64 * CARD
}

pub(super) fn layout(graph: &Graph) -> Layout {
    let has_edge = |node: usize| graph.edges.iter().any(|edge| edge.from == node || edge.to == node);
    let (connected, alone): (Vec<usize>, Vec<usize>) = (0..graph.nodes.len()).partition(|&one| has_edge(one));
    let incoming = |node: usize| graph.edges.iter().filter(|edge| edge.to == node).count();
    let sizes: Vec<(f64, f64)> =
        graph.nodes.iter().enumerate().map(|(index, node)| size(node, incoming(index))).collect();
    let layers = order(graph, &connected);
    let columns = columns(graph, &layers, &sizes);
    let tops = rows(graph, &layers, &sizes);

    let empty = Rect { x: 0.0, y: 0.0, width: 0.0, height: 0.0 };
    let mut nodes = vec![empty; graph.nodes.len()];
    for (spot, what) in layers.spots.iter().enumerate() {
        if let Spot::Node(node) = what {
            let (width, height) = sizes[*node];
            nodes[*node] = Rect { x: columns[layers.layer[spot]].0, y: tops[spot], width, height };
        }
    }
    let right = columns.last().map_or(MARGIN, |(x, width)| x + width);
    let bottom = connected.iter().map(|&one| nodes[one].y + nodes[one].height + behind(&graph.nodes[one]));
    let bottom = bottom.fold(HEAD, f64::max);
    let edges = edges(graph, &layers, &columns, &tops, &nodes);
    let width = (right + MARGIN).max(LEAST_WIDTH);
    let below = if connected.is_empty() { HEAD } else { bottom + 2.0 * BETWEEN };
    let bottom = place_alone(graph, &alone, &sizes, width, below, &mut nodes).max(bottom);
    Layout { width, height: bottom + FOOT, nodes, edges }
}

/// The left edge and the width of each column.
fn columns(graph: &Graph, layers: &Layers, sizes: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut x = MARGIN;
    let mut columns = Vec::new();
    for row in &layers.rows {
        let widths = row.iter().map(|&spot| match layers.spots[spot] {
            Spot::Node(node) => sizes[node].0 + behind(&graph.nodes[node]),
            Spot::Passage(_) => 0.0,
        });
        let width = widths.fold(0.0, f64::max);
        columns.push((x, width));
        x += width + CURVE + LABEL;
    }
    columns
}

/// The upper edge of each spot: as near to its neighbours as the order allows.
fn rows(graph: &Graph, layers: &Layers, sizes: &[(f64, f64)]) -> Vec<f64> {
    let height = |spot: usize| match layers.spots[spot] {
        Spot::Node(node) => sizes[node].1 + behind(&graph.nodes[node]),
        Spot::Passage(_) => PASSAGE,
    };
    let mut tops = vec![0.0; layers.spots.len()];
    for row in &layers.rows {
        let mut y = 0.0;
        for &spot in row {
            tops[spot] = y;
            y += height(spot) + BETWEEN;
        }
    }
    let steps: Vec<(usize, usize)> = layers.steps().collect();
    for sweep in 0..40 {
        let forward = sweep % 2 == 0;
        for row in &layers.rows {
            let wishes: Vec<f64> = row
                .iter()
                .map(|&spot| {
                    let neighbours: Vec<f64> = steps
                        .iter()
                        .map(|&(from, to)| if forward { (to, from) } else { (from, to) })
                        .filter(|&(here, _)| here == spot)
                        .map(|(_, there)| tops[there] + height(there) / 2.0)
                        .collect();
                    match middle(neighbours) {
                        Some(middle) => middle - height(spot) / 2.0,
                        None => tops[spot],
                    }
                })
                .collect();
            let heights: Vec<f64> = row.iter().map(|&spot| height(spot) + BETWEEN).collect();
            for (&spot, top) in row.iter().zip(apart(&wishes, &heights)) {
                tops[spot] = top;
            }
        }
    }
    let least = tops.iter().copied().fold(f64::INFINITY, f64::min);
    tops.into_iter().map(|top| top - least + HEAD).collect()
}

fn middle(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[half]),
        _ => Some(f64::midpoint(values[half - 1], values[half])),
    }
}

/// Places that keep the order and the distances and are as near to the wishes as can be, in the least squares'
/// sense: neighbours that would overlap become one block, which stands at the mean of its wishes.
fn apart(wishes: &[f64], heights: &[f64]) -> Vec<f64> {
    struct Block {
        members: usize,
        sum: f64,
        height: f64,
    }
    let mut blocks: Vec<Block> = Vec::new();
    for (&wish, &height) in wishes.iter().zip(heights) {
        let mut block = Block { members: 1, sum: wish, height };
        while let Some(before) = blocks.last() {
            if before.sum / count(before.members) + before.height <= block.sum / count(block.members) {
                break;
            }
            let before = blocks.pop().expect("it was just seen");
            // Within a block every wish is counted as one for the block's own upper edge.
            block = Block {
                members: before.members + block.members,
                sum: before.sum + block.sum - before.height * count(block.members),
                height: before.height + block.height,
            };
        }
        blocks.push(block);
    }
    let mut tops = Vec::new();
    for block in blocks {
        let mut top = block.sum / count(block.members);
        for _ in 0..block.members {
            tops.push(top);
            top += heights[tops.len() - 1];
        }
    }
    tops
}

#[expect(clippy::cast_precision_loss, reason = "there are few members")]
fn count(members: usize) -> f64 {
    members as f64
}

/// The points of each edge. Those that leave or reach a node are spread over its side, in an order in which they
/// do not cross.
fn edges(
    graph: &Graph,
    layers: &Layers,
    columns: &[(f64, f64)],
    tops: &[f64],
    nodes: &[Rect],
) -> Vec<Vec<(f64, f64)>> {
    let center = |spot: usize| match layers.spots[spot] {
        Spot::Node(node) => nodes[node].y + nodes[node].height / 2.0,
        Spot::Passage(_) => tops[spot] + PASSAGE / 2.0,
    };
    let next_to_end = |edge: usize| center(layers.paths[edge][layers.paths[edge].len() - 2]);
    let next_to_start = |edge: usize| center(layers.paths[edge][1]);
    let share = |node: usize, mine: usize, all: Vec<usize>| {
        let place = all.iter().position(|&one| one == mine).unwrap_or_default();
        let step = nodes[node].height / (count(all.len()) + 1.0);
        nodes[node].y + step * (count(place) + 1.0)
    };
    let sorted = |mut all: Vec<usize>, key: &dyn Fn(usize) -> f64| {
        all.sort_by(|&a, &b| key(a).total_cmp(&key(b)));
        all
    };
    let mut out = Vec::new();
    for (index, edge) in graph.edges.iter().enumerate() {
        let having =
            |wanted: &dyn Fn(usize) -> bool| (0..graph.edges.len()).filter(|&one| wanted(one)).collect();
        let leaving = sorted(having(&|one| graph.edges[one].from == edge.from), &next_to_start);
        let reaching = sorted(having(&|one| graph.edges[one].to == edge.to), &next_to_end);
        let path = &layers.paths[index];
        let from = nodes[edge.from];
        let column = columns[layers.layer[path[0]]];
        let start = share(edge.from, index, leaving);
        // Behind the widest card of the column every line is free to turn.
        let mut points = vec![
            (from.x + from.width + behind(&graph.nodes[edge.from]), start),
            (column.0 + column.1, start),
        ];
        for &spot in &path[1..path.len() - 1] {
            let column = columns[layers.layer[spot]];
            points.push((column.0 - LABEL, center(spot)));
            points.push((column.0 + column.1, center(spot)));
        }
        let end = share(edge.to, index, reaching);
        points.push((nodes[edge.to].x - LABEL, end));
        points.push((nodes[edge.to].x, end));
        out.push(points);
    }
    out
}

/// What has no line at all stands in rows below; returns the lowest edge.
fn place_alone(
    graph: &Graph,
    alone: &[usize],
    sizes: &[(f64, f64)],
    width: f64,
    top: f64,
    nodes: &mut [Rect],
) -> f64 {
    let (mut x, mut y, mut lowest) = (MARGIN, top, 0.0_f64);
    for &node in alone {
        let (node_width, height) = sizes[node];
        let behind = behind(&graph.nodes[node]);
        if x > MARGIN && x + node_width + behind > width - MARGIN {
            (x, y) = (MARGIN, lowest + BETWEEN);
        }
        nodes[node] = Rect { x, y, width: node_width, height };
        lowest = lowest.max(y + height + behind);
        x += node_width + behind + BETWEEN;
    }
    lowest
}
