use belljar_stack::plan::Condition;
use insta::assert_snapshot;
use proptest::prelude::*;

use super::layout::{CARD, LABEL, Layout, Rect, cards, layout};
use super::{Edge, Graph, Kind, Node, command};

fn node(name: &str, kind: Kind, ports: &[&str], replicas: usize) -> Node {
    Node {
        name: name.to_owned(),
        kind,
        runs: "bin/server".to_owned(),
        ports: ports.iter().map(|&one| one.to_owned()).collect(),
        replicas,
        ready: "ready when it is started".to_owned(),
    }
}

fn small() -> Graph {
    Graph {
        title: "shop <&> \"co\"".to_owned(),
        nodes: vec![
            node("db", Kind::Recipe, &["sql 5432"], 1),
            node("migrate", Kind::Task, &[], 1),
            node("api", Kind::Service, &["http 8080", "dns 53/udp"], 3),
        ],
        edges: vec![
            Edge { from: 0, to: 1, condition: Condition::Ready },
            Edge { from: 1, to: 2, condition: Condition::Succeeded },
            Edge { from: 0, to: 2, condition: Condition::Started },
        ],
    }
}

#[test]
fn graphviz_gets_its_own_words() {
    assert_snapshot!(small().to_dot(), @r#"
    digraph "shop <&> \"co\"" {
      rankdir = LR;
      node [shape = box, style = rounded, fontname = monospace];
      edge [fontname = monospace, fontsize = 10];

      "db" [label = "db\nrecipe bin/server\nsql 5432", tooltip = "ready when it is started"];
      "migrate" [label = "migrate\ntask: bin/server", tooltip = "ready when it is started", style = "rounded,dashed"];
      "api" [label = "api ×3\nbin/server\nhttp 8080\ndns 53/udp", tooltip = "ready when it is started"];

      "db" -> "migrate" [label = "ready"];
      "migrate" -> "api" [label = "succeeded"];
      "db" -> "api" [label = "started", style = dotted];
    }
    "#);
}

#[test]
fn the_document_is_well_formed_and_the_same_every_time() {
    let svg = small().to_svg();
    assert_eq!(svg, small().to_svg());
    assert!(svg.contains("shop &lt;&amp;&gt; &quot;co&quot;"), "{svg}");
    assert!(svg.contains("api with 3 replicas"), "{svg}");
    // Each element that is opened is closed.
    for element in ["svg", "g", "text", "title", "style", "desc", "defs", "marker"] {
        let opened =
            svg.matches(&format!("<{element} ")).count() + svg.matches(&format!("<{element}>")).count();
        assert_eq!(opened, svg.matches(&format!("</{element}>")).count(), "{element}");
    }
}

#[test]
fn a_command_is_told_in_a_few_words() {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(command(&words("/src/bin/podapp serve --listen 0.0.0.0:80")), "podapp serve");
    let script = ["sh", "-c", "exec bin/web -p 80"].map(str::to_owned);
    assert_eq!(command(&script), "web");
    assert_eq!(command(&[]), "");
}

/// All of a node, with the cards behind it.
fn whole(graph: &Graph, layout: &Layout, index: usize) -> Rect {
    let behind = CARD * f64::from(u8::try_from(cards(&graph.nodes[index]) - 1).unwrap());
    let Rect { x, y, width, height } = layout.nodes[index];
    Rect { x, y, width: width + behind, height: height + behind }
}

fn overlap(a: Rect, b: Rect) -> bool {
    a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height
}

/// Some points of a curve as it is drawn.
fn drawn(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut all = Vec::new();
    for pair in points.windows(2) {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        let half = f64::midpoint(x0, x1);
        for step in 0..=20 {
            let t = f64::from(step) / 20.0;
            let u = 1.0 - t;
            let mix = |a: f64, b: f64, c: f64, d: f64| {
                u * u * u * a + 3.0 * u * u * t * b + 3.0 * u * t * t * c + t * t * t * d
            };
            all.push((mix(x0, half, half, x1), mix(y0, y0, y1, y1)));
        }
    }
    all
}

#[track_caller]
fn is_drawn_well(graph: &Graph) {
    let layout = layout(graph);
    let page = Rect { x: 0.0, y: 0.0, width: layout.width, height: layout.height };
    for a in 0..graph.nodes.len() {
        let place = whole(graph, &layout, a);
        assert!(place.x >= page.x && place.x + place.width <= page.width, "{a} leaves the page: {layout:?}");
        assert!(
            place.y >= page.y && place.y + place.height <= page.height,
            "{a} leaves the page: {layout:?}"
        );
        for b in a + 1..graph.nodes.len() {
            assert!(!overlap(place, whole(graph, &layout, b)), "{a} and {b} overlap: {layout:?}");
        }
    }
    for (edge, points) in graph.edges.iter().zip(&layout.edges) {
        assert!(points.windows(2).all(|pair| pair[0].0 <= pair[1].0 + 0.01), "time goes back: {points:?}");
        for (x, y) in drawn(points) {
            for other in (0..graph.nodes.len()).filter(|&one| one != edge.from && one != edge.to) {
                let Rect { x: left, y: top, width, height } = whole(graph, &layout, other);
                let through = x > left && x < left + width && y > top && y < top + height;
                assert!(!through, "a line of {edge:?} goes through {other}: {layout:?}");
            }
        }
    }
    // The words on lines stand apart.
    let labels: Vec<Rect> = layout
        .edges
        .iter()
        .map(|points| {
            let (x, y) = points[points.len() - 2];
            Rect { x, y: y - 14.0, width: LABEL - 8.0, height: 12.0 }
        })
        .collect();
    for (index, &a) in labels.iter().enumerate() {
        for &b in &labels[index + 1..] {
            assert!(!overlap(a, b), "two words overlap: {a:?} {b:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn nothing_overlaps_in_any_stack(
        nodes in prop::collection::vec((0_usize..3, 0_usize..4, 1_usize..6), 0..14),
        links in prop::collection::vec((0_usize..14, 0_usize..14), 0..24),
    ) {
        let names: Vec<String> = (0..nodes.len()).map(|one| format!("service{one}")).collect();
        let kinds = [Kind::Recipe, Kind::Service, Kind::Task];
        let nodes: Vec<Node> = nodes
            .iter()
            .zip(&names)
            .map(|(&(kind, ports, replicas), name)| node(name, kinds[kind], &["http 8080", "a 1", "b 2"][..ports.min(3)], replicas))
            .collect();
        let mut edges: Vec<Edge> = Vec::new();
        for (a, b) in links {
            let edge = Edge { from: a.min(b), to: a.max(b), condition: Condition::Ready };
            if a != b && a.max(b) < nodes.len() && !edges.contains(&edge) {
                edges.push(edge);
            }
        }
        is_drawn_well(&Graph { title: "any".to_owned(), nodes, edges });
    }
}
