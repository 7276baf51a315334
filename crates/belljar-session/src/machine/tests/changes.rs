//! Scaling, and taking over another stack, without a process.

use belljar_model::event::{Change, ChangeWhat};

use super::*;

/// What was ordered of processes and names; the rest is preparation.
fn deeds(world: &mut World) -> Vec<Order> {
    let mut orders = world.take_orders();
    orders.retain(|one| {
        !matches!(
            one,
            Order::StopWatching { .. }
                | Order::WatchReadiness { .. }
                | Order::DefineReplica { .. }
                | Order::DefineTask { .. }
        )
    });
    orders
}

fn without_names(world: &mut World) -> Vec<Order> {
    let mut orders = deeds(world);
    orders.retain(|one| !matches!(one, Order::TellNames { .. }));
    orders
}

fn signal(replica: usize) -> Order {
    Order::Signal { replica, signal: 15 }
}

fn other_env(mut service: ServicePlan, value: &str) -> ServicePlan {
    for one in &mut service.replicas {
        one.env.insert("LOG".to_owned(), value.to_owned());
    }
    service
}

fn after(mut service: ServicePlan, on: &str) -> ServicePlan {
    service.after.push(after_service(on, Condition::Ready));
    service
}

pub(super) fn ready(services: Vec<ServicePlan>, tasks: Vec<TaskPlan>) -> World {
    let mut world = World::new(services, tasks);
    while world.machine.state() == SessionState::Starting {
        for order in world.take_orders() {
            match order {
                Order::StartReplica { replica, .. } => world.comes_up(replica),
                Order::StartTask { task } => succeeds(&mut world, task),
                _ => {}
            }
        }
    }
    world.take_orders();
    world
}

fn succeeds(world: &mut World, task: usize) {
    world.report(Report::TaskStarted { task, pid: 3 });
    world.report(Report::TaskExited { task, exit: code(0), duration_ms: 1, last_lines: vec![] });
}

impl World {
    fn changes(&self, request: u64) -> &[Change] {
        match &self.answers[&request] {
            Ok(Answer::Changed(changes)) => changes,
            other => panic!("{other:?}"),
        }
    }

    fn names(&self, name: &str) -> usize {
        let told = self.orders.iter().rev().find_map(|one| match one {
            Order::TellNames { names, .. } => Some(names),
            _ => None,
        });
        told.expect("names were told").get(name).map_or(0, Vec::len)
    }
}

#[test]
fn more_replicas_are_named_when_they_are_ready_and_nobody_else_notices() {
    let mut world = ready(vec![service("api", 2)], vec![]);
    let request = world.apply(vec![service("api", 4)], vec![]);
    assert_eq!((world.names("api"), world.names("api-4")), (2, 1), "its own name is known, for itself");
    assert_eq!(without_names(&mut world), [start(2, 1), start(3, 1)]);
    assert_eq!(world.machine.state(), SessionState::Ready, "what comes is no lack");
    world.comes_up(2);
    assert_eq!(world.names("api"), 3);
    assert!(!world.answers.contains_key(&request));
    world.comes_up(3);
    let [change] = world.changes(request) else { panic!() };
    assert_eq!((change.what, change.replicas.len()), (ChangeWhat::Start, 2));
    assert_eq!((world.generation(0), world.generation(1)), (1, 1));
    world.check_fold();
}

#[test]
fn fewer_are_stopped_in_order_and_one_that_comes_back_goes_on_counting() {
    let mut world = ready(vec![service("api", 3)], vec![]);
    let request = world.apply(vec![service("api", 1)], vec![]);
    let orders = deeds(&mut world);
    assert!(matches!(orders[0], Order::TellNames { .. }), "nobody is led to one that goes");
    assert_eq!(orders[1..], [signal(1), signal(2)]);
    world.exits(1, code(0));
    assert!(!world.answers.contains_key(&request));
    world.give(Input::Timer(Timer::StopRanOut { replica: 2, generation: 1 }));
    world.exits(2, killed());
    assert_eq!(world.changes(request)[0].what, ChangeWhat::Stop);
    assert_eq!(world.machine.state(), SessionState::Ready);
    world.check_fold();
    let gone = world.act(Verb::Kill, "api-3");
    assert_eq!(world.error(gone), ErrorCode::ReplicaNotFound);
    world.take_orders();
    world.apply(vec![service("api", 2)], vec![]);
    assert_eq!(without_names(&mut world), [start(1, 2)]);
    world.comes_up(1);
    world.check_fold();
}

#[test]
fn only_what_differs_is_started_again_and_in_order() {
    let stack = |db: &str, web: &str| {
        let web = other_env(after(service("web", 1), "api"), web);
        vec![other_env(service("db", 1), db), after(service("api", 1), "db"), web]
    };
    let mut world = ready(stack("info", "info"), vec![]);
    let request = world.apply(stack("debug", "debug"), vec![]);
    assert_eq!(without_names(&mut world), [signal(0)], "web comes after api, which comes after db");
    assert_eq!(world.machine.state(), SessionState::Ready);
    world.exits(0, code(0));
    assert_eq!(without_names(&mut world), [start(0, 2)]);
    world.comes_up(0);
    // The api has not changed: it is ready all the time, and web's turn comes when db's is over.
    assert_eq!(without_names(&mut world), [signal(2)]);
    world.exits(2, code(0));
    world.comes_up(2);
    let kinds: Vec<_> = world.changes(request).iter().map(|one| (one.unit.as_str(), one.what)).collect();
    assert_eq!(kinds, [("db", ChangeWhat::Restart), ("web", ChangeWhat::Restart)]);
    assert_eq!(world.changes(request)[0].why, ["env LOG"]);
    assert_eq!(world.generation(1), 1);
    world.check_fold();
}

#[test]
fn a_task_that_differs_runs_again_before_what_comes_after_it() {
    let stack = |script: &str, log: &str| {
        let mut migrate = task("migrate", vec![after_service("db", Condition::Ready)]);
        migrate.argv = vec![script.to_owned()];
        let mut api = other_env(service("api", 1), log);
        api.after = vec![after_task("migrate")];
        (vec![service("db", 1), api], vec![migrate])
    };
    let (services, tasks) = stack("one", "info");
    let mut world = ready(services, tasks);
    let (services, tasks) = stack("two", "debug");
    let request = world.apply(services, tasks);
    assert_eq!(without_names(&mut world), [Order::StartTask { task: 0 }]);
    succeeds(&mut world, 0);
    assert_eq!(without_names(&mut world), [signal(1)]);
    world.exits(1, code(0));
    world.comes_up(1);
    assert_eq!(world.changes(request).len(), 2);
    // One that fails stops the change, and nobody is touched for it.
    let (services, tasks) = stack("three", "trace");
    let request = world.apply(services, tasks);
    world.take_orders();
    world.report(Report::TaskStarted { task: 0, pid: 3 });
    let last_lines = vec!["no such table".to_owned()];
    world.report(Report::TaskExited { task: 0, exit: code(1), duration_ms: 1, last_lines });
    let error = world.answers[&request].clone().unwrap_err();
    assert_eq!(error.message, "task migrate failed: it ended with exit code 1");
    assert_eq!((world.generation(1), world.state(1)), (2, ReplicaState::Ready));
    // Said again, all of it is tried again.
    let (services, tasks) = stack("three", "trace");
    let request = world.apply(services, tasks);
    succeeds(&mut world, 0);
    world.exits(1, code(0));
    world.comes_up(1);
    assert_eq!(world.changes(request).len(), 2);
    world.check_fold();
}

#[test]
fn what_does_not_come_up_fails_the_change_and_degrades_the_session() {
    let mut world = ready(vec![service("api", 1)], vec![]);
    let request = world.apply(vec![service("api", 1), service("worker", 1)], vec![]);
    world.report(Report::ReplicaStarted { replica: 1, generation: 1, pid: 9 });
    world.exits(1, code(7));
    let error = world.answers[&request].clone().unwrap_err();
    assert_eq!(error.message, "worker-1 did not become ready: it ended with exit code 7");
    assert_eq!(world.machine.why(), Some("worker-1 is failed"));
    assert!(world.events.contains(&EventKind::SessionChangeFailed { why: error.message }));
    // What never came up is started by the same stack again.
    let again = world.apply(vec![service("api", 1), service("worker", 1)], vec![]);
    world.comes_up(1);
    assert_eq!(world.changes(again)[0].what, ChangeWhat::Start);
    assert_eq!(world.machine.state(), SessionState::Ready);
    world.check_fold();
}

#[test]
fn services_and_tasks_that_go_are_stopped_dependants_first() {
    let mut world = ready(vec![service("db", 1), after(service("api", 1), "db")], vec![task("seed", vec![])]);
    let request = world.apply(vec![], vec![]);
    assert_eq!(without_names(&mut world), [signal(1)]);
    world.exits(1, code(0));
    assert_eq!(without_names(&mut world), [signal(0)]);
    world.exits(0, code(0));
    assert_eq!(world.changes(request).len(), 3);
    assert!(world.machine.view(0).services.is_empty() && world.machine.view(0).tasks.is_empty());
    world.check_fold();
}

#[test]
fn what_goes_is_stopped_when_those_that_used_it_do_not_any_more() {
    let mut world = ready(vec![service("cache", 1), after(service("api", 1), "cache")], vec![]);
    let request = world.apply(vec![other_env(service("api", 1), "no cache")], vec![]);
    assert_eq!(without_names(&mut world), [signal(1)]);
    world.exits(1, code(0));
    assert_eq!(without_names(&mut world), [start(1, 2)]);
    world.comes_up(1);
    assert_eq!(without_names(&mut world), [signal(0)]);
    world.exits(0, code(0));
    assert_eq!(world.changes(request).len(), 2);
    world.check_fold();
}

#[test]
fn what_somebody_has_stopped_stays_stopped_and_is_as_the_stack_says_when_it_starts() {
    let mut world = ready(vec![service("api", 2)], vec![]);
    world.act(Verb::Stop, "api-2");
    world.exits(1, code(0));
    world.take_orders();
    world.apply(vec![other_env(service("api", 2), "debug")], vec![]);
    assert_eq!(without_names(&mut world), [signal(0)]);
    world.exits(0, code(0));
    world.comes_up(0);
    assert_eq!(world.state(1), ReplicaState::Exited);
    world.act(Verb::Start, "api-2");
    world.comes_up(1);
    let nothing = world.apply(vec![other_env(service("api", 2), "debug")], vec![]);
    assert_eq!(world.changes(nothing), []);
}

#[test]
fn what_a_session_stands_on_needs_another_session() {
    let mut world = ready(vec![service("api", 1)], vec![]);
    let mut other = plan(vec![service("api", 1)], vec![]);
    other.filesystem = Filesystem::Overlay;
    other.home = Home::Private;
    let request = world.ask(Ask::Apply { plan: Arc::new(other), dry: true });
    let error = world.answers[&request].clone().unwrap_err();
    assert_eq!(error.code, ErrorCode::ChangeNeedsDown);
    assert_eq!(
        error.message,
        "filesystem and home of the stack have changed, which session toy cannot take over while it runs"
    );
}

#[test]
fn looking_changes_nothing_and_a_second_change_overtakes_the_first() {
    let mut world = ready(vec![service("api", 1)], vec![]);
    let events = world.events.len();
    let look = world.ask(Ask::Apply { plan: Arc::new(plan(vec![service("api", 3)], vec![])), dry: true });
    assert_eq!(world.changes(look)[0].replicas.len(), 2);
    assert_eq!((world.events.len(), world.take_orders()), (events, vec![]));
    let first = world.apply(vec![service("api", 3)], vec![]);
    let second = world.apply(vec![service("api", 2)], vec![]);
    assert_eq!(world.error(first), ErrorCode::ChangeOvertaken);
    world.comes_up(1);
    world.report(Report::ReplicaStarted { replica: 2, generation: 1, pid: 8 });
    world.exits(2, code(0));
    assert!(matches!(world.answers[&second], Ok(Answer::Changed(_))));
    world.check_fold();
}

#[test]
fn a_session_ends_in_order_and_at_once_when_it_is_said_again() {
    let stack = || vec![service("db", 1), after(service("api", 1), "db")];
    let mut world = ready(stack(), vec![]);
    world.give(Input::EndInOrder { why: "enough".to_owned() });
    assert_eq!((world.machine.state(), without_names(&mut world)), (SessionState::Draining, vec![signal(1)]));
    world.check_fold();
    world.exits(1, code(0));
    assert_eq!(without_names(&mut world), [signal(0)]);
    world.exits(0, code(0));
    assert_eq!(world.take_orders().last(), Some(&Order::EndSession));
    let mut world = ready(stack(), vec![]);
    world.give(Input::EndInOrder { why: "enough".to_owned() });
    world.take_orders();
    world.give(Input::End { why: "now".to_owned() });
    assert_eq!(world.take_orders(), [Order::EndSession]);
}

#[test]
fn a_session_lives_as_long_as_it_was_said_last() {
    let mut world = ready(vec![service("api", 1)], vec![]);
    let within = Duration::from_mins(5);
    let request = world.ask(Ask::Expire { within });
    assert_eq!(world.answers[&request], Ok(Answer::Holds));
    assert_eq!(world.timers.pop(), Some((Timer::LifeRanOut, within)));
    world.give(Input::Timer(Timer::LifeRanOut));
    assert_eq!(world.machine.why(), Some("its time to live ran out"));
    assert_eq!(world.machine.state(), SessionState::Draining);
}

#[test]
fn files_that_changed_start_their_service_again_however_many_there_are() {
    let mut world = ready(vec![service("api", 2), service("db", 1)], vec![]);
    world.act(Verb::Stop, "api-2");
    world.exits(1, code(0));
    world.take_orders();
    let files = vec![PathBuf::from("/x/api")];
    let name = ServiceName::new("api").unwrap();
    for _ in 0..3 {
        world.ask(Ask::FilesChanged { service: name.clone(), files: files.clone() });
    }
    assert_eq!(without_names(&mut world), [signal(0)], "what was stopped stays so");
    for generation in 2..=3 {
        world.exits(0, code(0));
        assert_eq!(without_names(&mut world), [start(0, generation)]);
        world.comes_up(0);
        assert_eq!(without_names(&mut world), if generation == 2 { vec![signal(0)] } else { vec![] });
    }
    assert!(world.events.contains(&EventKind::FilesChanged { service: name, files }));
    let by =
        world.events.iter().filter(|one| matches!(one, EventKind::ReplicaStarting { by: Cause::Watch, .. }));
    assert_eq!(by.count(), 2);
}
