//! The picture of a stack: what it is made of and what comes after what, as SVG or for Graphviz.
//!
//! [`Graph::of`] takes from a plan what a picture shows, [`layout`] decides where it goes, [`svg`] and [`dot`]
//! write it down. Nothing here measures text with a font: widths are those of a monospaced face, which are the
//! same everywhere, so that nothing overlaps on anybody's screen.

mod dot;
mod layout;
mod order;
mod svg;

use belljar_stack::plan::{Check, Condition, Dependency, Plan, Protocol, ServicePlan, TaskPlan, UnitName};

/// What is drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    /// The stack's name.
    pub title: String,
    pub nodes: Vec<Node>,
    pub edges: Vec<Edge>,
}

/// A service or task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    pub kind: Kind,
    /// What it runs, in a few words.
    pub runs: String,
    /// What it listens on, each as `http 8080`.
    pub ports: Vec<String>,
    /// 1 for a task.
    pub replicas: usize,
    /// When one counts as ready, for whoever points at it.
    pub ready: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A service of a recipe.
    Recipe,
    /// A service that the stack says how to run.
    Service,
    Task,
}

/// `to` comes after `from`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    pub from: usize,
    pub to: usize,
    pub condition: Condition,
}

impl Graph {
    pub fn of(plan: &Plan) -> Self {
        let mut units: Vec<UnitName> =
            plan.services.iter().map(|one| UnitName::Service(one.name.clone())).collect();
        units.extend(plan.tasks.iter().map(|one| UnitName::Task(one.name.clone())));
        let services = plan.services.iter().map(|one| (Node::of_service(one), &one.after));
        let tasks = plan.tasks.iter().map(|one| (Node::of_task(one), &one.after));
        let (nodes, after): (Vec<Node>, Vec<&Vec<Dependency>>) = services.chain(tasks).unzip();
        let mut edges: Vec<Edge> = Vec::new();
        for (to, after) in after.into_iter().enumerate() {
            for dependency in after {
                let Some(from) = units.iter().position(|one| *one == dependency.on) else { continue };
                let edge = Edge { from, to, condition: dependency.condition };
                // One that was said twice is still one line.
                if !edges.contains(&edge) {
                    edges.push(edge);
                }
            }
        }
        Self { title: plan.stack.to_string(), nodes, edges }
    }

    /// A standalone SVG document, for light and dark backgrounds.
    pub fn to_svg(&self) -> String {
        svg::document(self, &layout::layout(self))
    }

    /// The source of a graph for Graphviz.
    pub fn to_dot(&self) -> String {
        dot::document(self)
    }
}

impl Node {
    fn of_service(service: &ServicePlan) -> Self {
        let replica = service.replicas.first();
        let ports = service.ports.iter().map(|one| match one.protocol {
            Protocol::Tcp => format!("{} {}", one.name, one.port),
            Protocol::Udp => format!("{} {}/udp", one.name, one.port),
        });
        let (kind, runs) = match &service.recipe {
            Some(recipe) => (Kind::Recipe, recipe.clone()),
            None => (Kind::Service, replica.map(|one| command(&one.argv)).unwrap_or_default()),
        };
        Self {
            name: service.name.to_string(),
            kind,
            runs,
            ports: ports.collect(),
            replicas: service.replicas.len(),
            ready: replica.map(|one| ready(&one.ready.check)).unwrap_or_default(),
        }
    }

    fn of_task(task: &TaskPlan) -> Self {
        Self {
            name: task.name.to_string(),
            kind: Kind::Task,
            runs: command(&task.argv),
            ports: Vec::new(),
            replicas: 1,
            ready: "done when it has ended with code 0".to_owned(),
        }
    }
}

/// A command in a few words: the program without its directory, and what follows it.
fn command(argv: &[String]) -> String {
    let words = match argv {
        [sh, flag, script] if sh == "sh" && flag == "-c" => {
            script.split_whitespace().map(str::to_owned).skip_while(|word| word == "exec").collect()
        }
        words => words.to_vec(),
    };
    let mut words = words.into_iter();
    let program = words.next().unwrap_or_default();
    let program = program.rsplit('/').next().unwrap_or_default().to_owned();
    // Options say little without their explanation.
    let arguments = words.take_while(|word| !word.starts_with('-'));
    std::iter::once(program).chain(arguments).collect::<Vec<_>>().join(" ")
}

fn ready(check: &Check) -> String {
    match check {
        Check::Started => "ready when it is started".to_owned(),
        Check::Tcp { ports } => {
            let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
            format!("ready when TCP {} takes connections", ports.join(", "))
        }
        Check::Http { port, path, .. } => format!("ready when GET {path} on port {port} answers well"),
        Check::Exec { argv } => format!("ready when `{}` succeeds", argv.join(" ")),
        Check::Log { pattern } => format!("ready when its log says /{pattern}/"),
        Check::Notify => "ready when it notifies".to_owned(),
        Check::File { path } => format!("ready when {} exists", path.display()),
        Check::Socket { path } => format!("ready when {} takes connections", path.display()),
    }
}

/// A condition as one word.
fn word(condition: Condition) -> &'static str {
    match condition {
        Condition::Started => "started",
        Condition::Ready => "ready",
        Condition::Succeeded => "succeeded",
    }
}

#[cfg(test)]
mod tests;
