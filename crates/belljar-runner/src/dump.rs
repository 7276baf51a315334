//! What everything looked like when a deadline passed: `dump.txt` in the artifacts.

use std::fmt::Write as _;

use belljar_client::wire::{LogLine, SessionView};

/// How many lines of each replica and task.
const LAST_LINES: usize = 50;

/// The state of every replica and task, and what each said last.
pub(crate) fn text(why: &str, view: &SessionView, logs: &[LogLine]) -> String {
    let mut text =
        format!("{why}\nsession {} ({}) of stack {}: {}", view.id, view.name, view.stack, view.state);
    if let Some(why) = &view.why {
        push(&mut text, format_args!(", {why}"));
    }
    text.push('\n');
    for replica in view.services.values().flat_map(|service| &service.replicas) {
        push(
            &mut text,
            format_args!("\n{}: {}, generation {}", replica.name, replica.state, replica.generation),
        );
        if let Some(pid) = replica.pid {
            push(&mut text, format_args!(", pid {pid}"));
        }
        if let Some(exit) = &replica.exit {
            push(&mut text, format_args!(", {exit}"));
        }
        text.push('\n');
        last_lines(&mut text, replica.name.as_str(), logs);
    }
    for (name, task) in &view.tasks {
        push(&mut text, format_args!("\ntask {name}: {}\n", task.state));
        last_lines(&mut text, name.as_str(), logs);
    }
    text
}

fn last_lines(text: &mut String, from: &str, logs: &[LogLine]) {
    let lines: Vec<_> = logs.iter().filter(|line| line.from == from).collect();
    for line in &lines[lines.len().saturating_sub(LAST_LINES)..] {
        push(text, format_args!("  {:>10.3} {}\n", line.t, line.line));
    }
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use belljar_client::wire::{LogLine, ReplicaView, ServiceView, SessionView, Stream, TaskView};
    use belljar_model::{
        ReplicaName, ReplicaState, ServiceName, SessionId, SessionName, SessionState, StackName, TaskName,
        TaskState,
    };

    use super::{LAST_LINES, text};

    #[test]
    fn everybody_is_told_of_with_his_last_lines() {
        let replica = ReplicaView {
            name: ReplicaName::new("api-1").unwrap(),
            state: ReplicaState::Ready,
            host: "10.0.0.2".to_owned(),
            ports: BTreeMap::new(),
            url: None,
            published: BTreeMap::new(),
            generation: 2,
            pid: Some(7),
            ready_ms: Some(1.5),
            exit: None,
            cool_down_ms: None,
            last_lines: Vec::new(),
        };
        let service = ServiceView {
            replicas: vec![replica],
            published: BTreeMap::new(),
            urls: BTreeMap::new(),
            url: None,
        };
        let task = TaskView { state: TaskState::Succeeded, exit: None, last_lines: Vec::new() };
        let view = SessionView {
            id: SessionId::new("k3f9-x2ab").unwrap(),
            name: SessionName::new("pods-smoke").unwrap(),
            stack: StackName::new("pods").unwrap(),
            state: SessionState::Ready,
            why: None,
            seq: 9,
            services: BTreeMap::from([(ServiceName::new("api").unwrap(), service)]),
            tasks: BTreeMap::from([(TaskName::new("migrate").unwrap(), task)]),
            metrics: None,
        };
        let line = |from: &str, number: u32| LogLine {
            from: from.to_owned(),
            t: f64::from(number),
            stream: Stream::Out,
            line: format!("line {number}"),
        };
        let mut logs = vec![line("migrate", 3)];
        logs.extend((0..200).map(|number| line("api-1", number)));
        let text = text("past the deadline", &view, &logs);
        let start = "past the deadline\nsession k3f9-x2ab (pods-smoke) of stack pods: ready\n\n\
                     api-1: ready, generation 2, pid 7\n     150.000 line 150\n";
        assert!(text.starts_with(start), "{text}");
        assert!(
            text.ends_with("     199.000 line 199\n\ntask migrate: succeeded\n       3.000 line 3\n"),
            "{text}"
        );
        assert_eq!(text.lines().filter(|line| line.starts_with(' ')).count(), LAST_LINES + 1);
    }
}
