//! Layers, and the order within each: the first half of drawing a graph in layers (Sugiyama's way).

use super::Graph;

/// Where an edge passes: nodes, and places in the layers between them that are kept free for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spot {
    Node(usize),
    /// Of this edge.
    Passage(usize),
}

/// The spots of each layer from top to bottom, and the path of each edge from spot to spot.
#[derive(Debug)]
pub(super) struct Layers {
    pub(super) spots: Vec<Spot>,
    /// The layer of each spot.
    pub(super) layer: Vec<usize>,
    /// Spots of each layer, in order.
    pub(super) rows: Vec<Vec<usize>>,
    /// For each edge its spots, from its beginning to its end.
    pub(super) paths: Vec<Vec<usize>>,
}

/// More sweeps change nothing in any stack that people write.
const SWEEPS: usize = 24;

/// `nodes` are those that have an edge.
pub(super) fn order(graph: &Graph, nodes: &[usize]) -> Layers {
    let depth = depths(graph);
    let mut layers = Layers { spots: Vec::new(), layer: Vec::new(), rows: Vec::new(), paths: Vec::new() };
    let mut spot_of = vec![usize::MAX; graph.nodes.len()];
    for &node in nodes {
        spot_of[node] = layers.add(Spot::Node(node), depth[node]);
    }
    for (index, edge) in graph.edges.iter().enumerate() {
        let mut path = vec![spot_of[edge.from]];
        for layer in depth[edge.from] + 1..depth[edge.to] {
            path.push(layers.add(Spot::Passage(index), layer));
        }
        path.push(spot_of[edge.to]);
        layers.paths.push(path);
    }
    layers.uncross();
    layers
}

/// The longest way to each node from where nothing comes before. A plan has no cycles.
fn depths(graph: &Graph) -> Vec<usize> {
    let mut depth = vec![0_usize; graph.nodes.len()];
    for _ in 0..graph.nodes.len() {
        for edge in &graph.edges {
            depth[edge.to] = depth[edge.to].max(depth[edge.from] + 1);
        }
    }
    // What many wait for stands right before them, not at the far end.
    for node in 0..depth.len() {
        let has_reason = graph.edges.iter().any(|edge| edge.to == node);
        let next = graph.edges.iter().filter(|edge| edge.from == node).map(|edge| depth[edge.to]).min();
        if let (false, Some(next)) = (has_reason, next) {
            depth[node] = next.saturating_sub(1);
        }
    }
    depth
}

impl Layers {
    fn add(&mut self, spot: Spot, layer: usize) -> usize {
        let index = self.spots.len();
        self.spots.push(spot);
        self.layer.push(layer);
        if self.rows.len() <= layer {
            self.rows.resize_with(layer + 1, Vec::new);
        }
        self.rows[layer].push(index);
        index
    }

    /// Every step of every edge, from a layer to the next.
    pub(super) fn steps(&self) -> impl Iterator<Item = (usize, usize)> {
        self.paths.iter().flat_map(|path| path.windows(2).map(|pair| (pair[0], pair[1])))
    }

    /// Sorts the layers back and forth by the mean place of their neighbours, and keeps the best that was seen.
    fn uncross(&mut self) {
        let steps: Vec<(usize, usize)> = self.steps().collect();
        let mut best = (self.crossings(&steps), self.rows.clone());
        for sweep in 0..SWEEPS {
            let forward = sweep % 2 == 0;
            let count = self.rows.len();
            for step in 1..count {
                let layer = if forward { step } else { count - 1 - step };
                self.sort_layer(layer, &steps, forward);
            }
            let crossings = self.crossings(&steps);
            if crossings < best.0 {
                best = (crossings, self.rows.clone());
            }
        }
        self.rows = best.1;
    }

    fn places(&self) -> Vec<usize> {
        let mut places = vec![0; self.spots.len()];
        for row in &self.rows {
            for (place, &spot) in row.iter().enumerate() {
                places[spot] = place;
            }
        }
        places
    }

    #[expect(clippy::cast_precision_loss, reason = "places are small numbers")]
    fn sort_layer(&mut self, layer: usize, steps: &[(usize, usize)], forward: bool) {
        let places = self.places();
        let mean = |spot: usize| {
            let neighbours: Vec<usize> = steps
                .iter()
                .map(|&(from, to)| if forward { (to, from) } else { (from, to) })
                .filter(|&(here, _)| here == spot)
                .map(|(_, there)| places[there])
                .collect();
            match neighbours.len() {
                0 => places[spot] as f64,
                count => neighbours.iter().sum::<usize>() as f64 / count as f64,
            }
        };
        let mut keyed: Vec<(f64, usize)> = self.rows[layer].iter().map(|&spot| (mean(spot), spot)).collect();
        keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.rows[layer] = keyed.into_iter().map(|(_, spot)| spot).collect();
    }

    fn crossings(&self, steps: &[(usize, usize)]) -> usize {
        let places = self.places();
        let mut count = 0;
        for (index, &(from, to)) in steps.iter().enumerate() {
            for &(other_from, other_to) in &steps[index + 1..] {
                let same = self.layer[from] == self.layer[other_from];
                let crossed = (places[from] < places[other_from] && places[to] > places[other_to])
                    || (places[from] > places[other_from] && places[to] < places[other_to]);
                count += usize::from(same && crossed);
            }
        }
        count
    }
}
