//! The rules of starting, stopping and restarting, each without a process. The property at the end drives the
//! machine with everything that can happen in any order, and compares it with the fold of its own events.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use belljar_client::wire::{Done, ErrorView, Verb, WaitFor};
use belljar_model::event::Exit;
use belljar_model::{
    Cause, ErrorCode, EventKind, Folded, ReplicaState, ServiceName, SessionId, SessionName, SessionState,
    StackName, TaskName, TaskState,
};
use belljar_stack::plan::{
    Boot, Check, Condition, Dependency, Filesystem, Home, Isolation, Limits, Plan, ReadyPlan, ReplicaPlan,
    RestartPolicy, ServicePlan, StopPlan, TaskPlan, UnitName,
};
use proptest::prelude::*;

use super::{Answer, Ask, Effect, Input, Machine, Order, Report, Timer};

fn service(name: &str, replicas: u16) -> ServicePlan {
    let name = ServiceName::new(name).unwrap();
    let replicas = (1..=replicas).map(|number| ReplicaPlan {
        name: belljar_model::ReplicaName::of(&name, number),
        address: Ipv4Addr::new(10, 77, 1, 1),
        ports: Vec::new(),
        url: None,
        argv: vec!["true".to_owned()],
        init: None,
        env: BTreeMap::new(),
        cwd: PathBuf::from("/"),
        limits: Limits::default(),
        volumes: Vec::new(),
        files: Vec::new(),
        ready: ReadyPlan { check: Check::Started, within: Duration::from_secs(1), stable: Duration::ZERO },
    });
    ServicePlan {
        replicas: replicas.collect(),
        name,
        recipe: None,
        boot: Boot::Parallel,
        after: Vec::new(),
        restart: RestartPolicy::Never,
        stop: StopPlan { signal: 15, within: Duration::from_secs(10) },
        ports: Vec::new(),
        publish: Vec::new(),
        outputs: BTreeMap::new(),
        watch: Vec::new(),
    }
}

fn task(name: &str, after: Vec<Dependency>) -> TaskPlan {
    TaskPlan {
        name: TaskName::new(name).unwrap(),
        argv: vec!["true".to_owned()],
        env: BTreeMap::new(),
        cwd: PathBuf::from("/"),
        limits: Limits::default(),
        after,
        timeout: Duration::from_mins(1),
    }
}

fn after_service(name: &str, condition: Condition) -> Dependency {
    Dependency { on: UnitName::Service(ServiceName::new(name).unwrap()), condition }
}

fn after_task(name: &str) -> Dependency {
    Dependency { on: UnitName::Task(TaskName::new(name).unwrap()), condition: Condition::Succeeded }
}

fn plan(services: Vec<ServicePlan>, tasks: Vec<TaskPlan>) -> Plan {
    Plan {
        stack: StackName::new("toy").unwrap(),
        dir: PathBuf::from("/"),
        filesystem: Filesystem::Host,
        home: Home::Host,
        limits: Limits::default(),
        services,
        tasks,
        suites: Vec::new(),
        isolation: Isolation::Sealed,
        order: Vec::new(),
        address: Ipv4Addr::new(10, 77, 0, 1),
        prefix: 16,
        command_env: BTreeMap::new(),
        program_dirs: Vec::new(),
        host_env: BTreeMap::new(),
        host_services: Vec::new(),
    }
}

/// A machine with its orders and answers collected, and the fold of everything that it said.
struct World {
    machine: Machine,
    folded: Folded,
    orders: Vec<Order>,
    timers: Vec<(Timer, Duration)>,
    events: Vec<EventKind>,
    answers: BTreeMap<u64, Result<Answer, ErrorView>>,
    next_request: u64,
    next_pid: i32,
}

impl World {
    fn new(services: Vec<ServicePlan>, tasks: Vec<TaskPlan>) -> Self {
        let plan = plan(services, tasks);
        let id = SessionId::new("abcd-efg1").unwrap();
        let machine = Machine::new(Arc::new(plan), id, SessionName::new("toy").unwrap());
        let mut world = Self {
            machine,
            folded: Folded::default(),
            orders: Vec::new(),
            timers: Vec::new(),
            events: Vec::new(),
            answers: BTreeMap::new(),
            next_request: 0,
            next_pid: 100,
        };
        world.give(Input::Begin);
        world
    }

    fn give(&mut self, input: Input) {
        for effect in self.machine.handle(input) {
            match effect {
                Effect::Emit(kind) => {
                    self.folded.apply(&kind);
                    self.events.push(kind);
                }
                Effect::Order(order) => self.orders.push(order),
                Effect::SetTimer { timer, after } => self.timers.push((timer, after)),
                Effect::Answer { id, answer } => {
                    assert!(self.answers.insert(id, answer).is_none(), "request {id} was answered twice");
                }
            }
        }
    }

    fn report(&mut self, report: Report) {
        self.give(Input::Report(report));
    }

    fn ask(&mut self, ask: Ask) -> u64 {
        self.next_request += 1;
        self.give(Input::Request { id: self.next_request, ask });
        self.next_request
    }

    fn act(&mut self, verb: Verb, target: &str) -> u64 {
        self.ask(Ask::Act { verb, targets: vec![target.to_owned()], by: Cause::Command })
    }

    fn take_orders(&mut self) -> Vec<Order> {
        std::mem::take(&mut self.orders)
    }

    fn generation(&self, replica: usize) -> u32 {
        self.machine.replicas[replica].generation
    }

    /// The backend starts this replica and finds it ready.
    fn comes_up(&mut self, replica: usize) {
        let generation = self.generation(replica);
        self.next_pid += 1;
        self.report(Report::ReplicaStarted { replica, generation, pid: self.next_pid });
        self.report(Report::ReplicaReady { replica, generation, ready_ms: 1.0 });
    }

    fn port_taken(&mut self, replica: usize) {
        let generation = self.generation(replica);
        let (port, why) = ("http".to_owned(), "its port was taken".to_owned());
        self.report(Report::PortTaken { replica, generation, port, exit: code(1), why, last_lines: vec![] });
    }

    fn exits(&mut self, replica: usize, exit: Exit) {
        let generation = self.generation(replica);
        let last_lines = vec!["last".to_owned()];
        self.report(Report::ReplicaExited { replica, generation, exit, last_lines });
    }

    fn state(&self, replica: usize) -> ReplicaState {
        self.machine.replicas[replica].state
    }

    fn done(&self, request: u64) -> &Done {
        match &self.answers[&request] {
            Ok(Answer::Done(done)) => done,
            other => panic!("{other:?}"),
        }
    }

    fn error(&self, request: u64) -> ErrorCode {
        self.answers[&request].as_ref().unwrap_err().code
    }

    /// Asks for the session to be as this says.
    fn apply(&mut self, services: Vec<ServicePlan>, tasks: Vec<TaskPlan>) -> u64 {
        self.ask(Ask::Apply { plan: Arc::new(plan(services, tasks)), dry: false })
    }

    /// The machine's own state is what its events add up to.
    fn check_fold(&self) {
        let view = self.machine.view(0);
        for name in self.folded.replicas.keys() {
            let shown = view.services.values().flat_map(|service| &service.replicas);
            assert!(shown.into_iter().any(|one| one.name == *name), "{name} is gone");
        }
        assert_eq!(self.folded.state, Some(view.state));
        for one in view.services.values().flat_map(|service| &service.replicas) {
            let Some(folded) = self.folded.replicas.get(&one.name) else {
                assert_eq!(one.state, ReplicaState::Pending, "{}", one.name);
                continue;
            };
            assert_eq!((folded.state, folded.generation), (one.state, one.generation), "{}", one.name);
            assert_eq!((folded.pid, &folded.exit), (one.pid, &one.exit), "{}", one.name);
        }
        for (name, one) in &view.tasks {
            let folded = self.folded.tasks.get(name).map_or(TaskState::Pending, |task| task.state);
            // A task counts as running when it was ordered; its event follows its process.
            if one.state != TaskState::Running {
                assert_eq!(folded, one.state, "{name}");
            }
        }
    }
}

mod changes;

fn code(code: i32) -> Exit {
    Exit { code: Some(code), signal: None }
}

fn killed() -> Exit {
    Exit { code: None, signal: Some("SIGKILL".to_owned()) }
}

fn start(replica: usize, generation: u32) -> Order {
    Order::StartReplica { replica, generation }
}

#[test]
fn a_dependant_starts_the_moment_its_condition_holds() {
    let mut api = service("api", 1);
    api.after = vec![after_task("migrate"), after_service("bus", Condition::Started)];
    let migrate = task("migrate", vec![after_service("db", Condition::Ready)]);
    let mut world = World::new(vec![service("db", 1), service("bus", 1), api], vec![migrate]);
    assert_eq!(world.take_orders(), [start(0, 1), start(1, 1)]);
    world.report(Report::ReplicaStarted { replica: 1, generation: 1, pid: 5 });
    world.take_orders();
    world.comes_up(0);
    assert!(world.take_orders().contains(&Order::StartTask { task: 0 }));
    world.report(Report::TaskStarted { task: 0, pid: 6 });
    assert_eq!(world.take_orders(), []);
    world.report(Report::TaskExited { task: 0, exit: code(0), duration_ms: 3, last_lines: vec![] });
    // The bus has started and is not ready: that is all that was asked for.
    assert_eq!(world.take_orders(), [start(2, 1)]);
    world.comes_up(2);
    assert_eq!(world.machine.state(), SessionState::Starting);
    world.report(Report::ReplicaReady { replica: 1, generation: 1, ready_ms: 2.0 });
    assert_eq!(world.machine.state(), SessionState::Ready);
    world.check_fold();
}

#[test]
fn a_serial_boot_is_one_after_another_and_later_restarts_are_free() {
    let mut api = service("api", 3);
    api.boot = Boot::Serial;
    let mut world = World::new(vec![api], vec![]);
    for replica in 0..3 {
        let starts: Vec<Order> =
            world.take_orders().into_iter().filter(|one| matches!(one, Order::StartReplica { .. })).collect();
        assert_eq!(starts, [start(replica, 1)]);
        world.comes_up(replica);
    }
    world.take_orders();
    world.act(Verb::Kill, "api");
    (0..3).for_each(|replica| world.exits(replica, killed()));
    world.take_orders();
    world.act(Verb::Start, "api");
    assert_eq!(world.take_orders(), [start(0, 2), start(1, 2), start(2, 2)]);
}

#[test]
fn what_never_becomes_ready_ends_the_session_with_its_reason() {
    let mut world = World::new(vec![service("db", 1)], vec![]);
    world.exits(0, code(3));
    assert!(world.machine.why().unwrap().contains("db-1 did not become ready: it ended with exit code 3"));
    assert!(world.take_orders().contains(&Order::EndSession));
    world.report(Report::Gone { why: None });
    assert_eq!(world.machine.state(), SessionState::Ended);
    world.check_fold();
}

#[test]
fn a_session_that_cannot_go_on_says_why_and_answers_whoever_waits() {
    let mut world = World::new(vec![service("api", 2)], vec![]);
    (0..2).for_each(|replica| world.comes_up(replica));
    let restart = world.act(Verb::Restart, "api-2");
    let kill = world.act(Verb::Kill, "api-1");
    assert!(!world.answers.contains_key(&kill));
    world.report(Report::Gone { why: Some("its init failed: no memory".to_owned()) });
    assert_eq!(world.machine.why(), Some("its init failed: no memory"));
    assert_eq!(world.error(restart), ErrorCode::SessionEnded);
    assert!(world.answers.contains_key(&kill));
    world.check_fold();
}

#[test]
fn a_failed_task_ends_the_session() {
    let mut world = World::new(vec![], vec![task("migrate", vec![])]);
    world.report(Report::TaskExited { task: 0, exit: code(1), duration_ms: 3, last_lines: vec![] });
    assert_eq!(world.machine.why(), Some("task migrate failed: it ended with exit code 1"));
}

#[test]
fn a_verb_is_answered_when_it_is_true() {
    let mut world = World::new(vec![service("api", 2)], vec![]);
    (0..2).for_each(|replica| world.comes_up(replica));
    world.take_orders();
    let stop = world.act(Verb::Stop, "api-2");
    assert_eq!(
        world.take_orders(),
        [Order::StopWatching { replica: 1 }, Order::Signal { replica: 1, signal: 15 }]
    );
    assert!(!world.answers.contains_key(&stop));
    world.give(Input::Timer(Timer::StopRanOut { replica: 1, generation: 1 }));
    assert_eq!(world.take_orders(), [Order::Kill { replica: 1 }]);
    world.exits(1, killed());
    assert_eq!(world.done(stop).replicas[0].state, ReplicaState::Exited);
    // Asked for, so nothing is missing.
    assert_eq!(world.machine.state(), SessionState::Ready);
    let again = world.act(Verb::Stop, "api-2");
    assert!(!world.done(again).replicas[0].changed);
    let pause = world.act(Verb::Pause, "api");
    assert_eq!(world.error(pause), ErrorCode::ReplicaNotRunning);
    assert_eq!(world.state(0), ReplicaState::Ready, "nothing is half applied");
    let wrong = world.act(Verb::Kill, "apy");
    assert_eq!(world.error(wrong), ErrorCode::ReplicaNotFound);
    world.check_fold();
}

#[test]
fn a_death_degrades_the_session_until_it_is_made_good() {
    let mut world = World::new(vec![service("api", 1)], vec![]);
    world.comes_up(0);
    world.exits(0, code(1));
    assert_eq!(world.machine.state(), SessionState::Degraded);
    assert_eq!(world.machine.why(), Some("api-1 is failed"));
    let started = world.act(Verb::Start, "api-1");
    assert!(!world.answers.contains_key(&started));
    world.comes_up(0);
    assert_eq!(world.done(started).replicas[0].generation, 2);
    assert_eq!(world.machine.state(), SessionState::Ready);
    world.check_fold();
}

#[test]
fn restarts_are_coalesced_and_each_caller_is_told_when_his_is_served() {
    let mut world = World::new(vec![service("api", 1)], vec![]);
    world.comes_up(0);
    let first = world.act(Verb::Restart, "api-1");
    let others: Vec<u64> = (0..5).map(|_| world.act(Verb::Restart, "api-1")).collect();
    world.exits(0, code(0));
    world.comes_up(0);
    assert_eq!(world.done(first).replicas[0].generation, 2);
    assert!(others.iter().all(|id| !world.answers.contains_key(id)), "they came after it had begun");
    world.exits(0, code(0));
    world.comes_up(0);
    assert!(others.iter().all(|&id| world.done(id).replicas[0].generation == 3));
    assert_eq!(world.generation(0), 3, "six requests, two cycles");
    let merged = world
        .events
        .iter()
        .filter(|event| matches!(event, EventKind::RestartRequested { merged_into: Some(_), .. }));
    assert_eq!(merged.count(), 4);
    world.check_fold();
}

#[test]
fn a_restart_that_fails_is_told_and_the_next_one_runs() {
    let mut world = World::new(vec![service("api", 1)], vec![]);
    world.comes_up(0);
    let first = world.act(Verb::Restart, "api-1");
    let second = world.act(Verb::Restart, "api-1");
    world.exits(0, code(0));
    world.report(Report::ReplicaStarted { replica: 0, generation: 2, pid: 9 });
    world.exits(0, code(7));
    assert_eq!(world.error(first), ErrorCode::SessionNotReady);
    world.comes_up(0);
    assert_eq!(world.done(second).replicas[0].generation, 3);
    world.check_fold();
}

#[test]
fn a_policy_restarts_with_back_off_and_stays_out_of_what_people_do() {
    let mut api = service("api", 1);
    api.restart = RestartPolicy::OnFailure;
    let mut world = World::new(vec![api], vec![]);
    world.comes_up(0);
    let mut waits = Vec::new();
    for _ in 0..3 {
        world.exits(0, code(1));
        let (timer, after) = world.timers.pop().unwrap();
        waits.push(after.as_millis());
        let generation = world.generation(0);
        // However many look at it meanwhile, one starts it.
        world.give(Input::Timer(timer.clone()));
        world.give(Input::Timer(timer));
        assert_eq!(world.generation(0), generation + 1);
    }
    assert_eq!(waits, [100, 200, 400]);
    world.comes_up(0);
    world.exits(0, code(1));
    let (timer, after) = world.timers.pop().unwrap();
    assert_eq!(after.as_millis(), 800, "being ready for a moment is no good life");
    world.give(Input::Timer(timer));
    world.comes_up(0);
    let generation = world.generation(0);
    world.give(Input::Timer(Timer::LivedOn { replica: 0, generation }));
    world.exits(0, code(1));
    let (timer, after) = world.timers.pop().unwrap();
    assert_eq!(after.as_millis(), 100);
    world.give(Input::Timer(timer));
    world.comes_up(0);
    world.act(Verb::Kill, "api-1");
    world.timers.clear();
    world.exits(0, killed());
    assert_eq!(world.timers, [], "a kill was asked for");
    assert_eq!(world.state(0), ReplicaState::Exited);
    world.check_fold();
}

#[test]
fn however_many_start_a_crashed_replica_one_wins() {
    let mut api = service("api", 1);
    api.restart = RestartPolicy::OnFailure;
    let mut world = World::new(vec![api], vec![]);
    world.comes_up(0);
    world.exits(0, code(1));
    assert_eq!(world.machine.view(0).services.values().next().unwrap().replicas[0].cool_down_ms, Some(100));
    world.take_orders();
    let starts: Vec<u64> = (0..5).map(|_| world.act(Verb::Start, "api-1")).collect();
    let (timer, _) = world.timers.pop().unwrap();
    world.give(Input::Timer(timer));
    assert_eq!(world.take_orders(), [start(0, 2)]);
    world.comes_up(0);
    let changed: Vec<bool> = starts.iter().map(|&id| world.done(id).replicas[0].changed).collect();
    assert_eq!(changed, [true, false, false, false, false]);
    world.check_fold();
}

#[test]
fn an_exit_with_zero_is_no_failure_but_always_means_always() {
    for (policy, restarts) in [(RestartPolicy::OnFailure, false), (RestartPolicy::Always, true)] {
        let mut api = service("api", 1);
        api.restart = policy;
        let mut world = World::new(vec![api], vec![]);
        world.comes_up(0);
        world.exits(0, code(0));
        assert_eq!(!world.timers.is_empty(), restarts, "{policy:?}");
    }
}

#[test]
fn pause_is_answered_when_it_stands_still_and_readiness_waits_for_resume() {
    let mut world = World::new(vec![service("api", 1)], vec![]);
    world.report(Report::ReplicaStarted { replica: 0, generation: 1, pid: 4 });
    let pause = world.act(Verb::Pause, "api-1");
    assert!(!world.answers.contains_key(&pause));
    world.report(Report::ReplicaFrozen { replica: 0, generation: 1, result: Ok(()) });
    assert_eq!(world.done(pause).replicas[0].state, ReplicaState::Paused);
    world.report(Report::ReplicaReady { replica: 0, generation: 1, ready_ms: 1.0 });
    assert_eq!(world.state(0), ReplicaState::Paused);
    world.take_orders();
    let resume = world.act(Verb::Resume, "api-1");
    world.report(Report::ReplicaThawed { replica: 0, generation: 1, result: Ok(()) });
    assert_eq!(world.done(resume).replicas[0].state, ReplicaState::Running);
    assert!(world.take_orders().contains(&Order::WatchReadiness { replica: 0, generation: 1 }));
    world.check_fold();
}

#[test]
fn waits_hold_run_out_and_tell_what_they_waited_for() {
    let mut world = World::new(vec![service("api", 1)], vec![]);
    let within = Duration::from_secs(1);
    let wait =
        |target: Option<&str>, condition| Ask::Wait { condition, target: target.map(str::to_owned), within };
    let ready = world.ask(wait(Some("api-1"), WaitFor::Ready));
    let exited = world.ask(wait(Some("api"), WaitFor::Exited));
    let drained = world.ask(Ask::Drain { within });
    world.give(Input::Timer(Timer::WaitRanOut { id: drained }));
    assert_eq!(world.error(drained), ErrorCode::NeverStarted);
    world.comes_up(0);
    assert_eq!(world.answers[&ready], Ok(Answer::Holds));
    world.give(Input::Timer(Timer::WaitRanOut { id: exited }));
    let error = world.answers[&exited].clone().unwrap_err();
    assert_eq!(error.message, "waited for exited in vain: api-1 is ready");
    world.give(Input::CommandStarted);
    let drained = world.ask(Ask::Drain { within });
    world.give(Input::Timer(Timer::WaitRanOut { id: drained }));
    assert_eq!(world.error(drained), ErrorCode::NotDrained);
    world.give(Input::CommandEnded);
    let drained = world.ask(Ask::Drain { within });
    assert_eq!(world.answers[&drained], Ok(Answer::Holds));
}

/// The plan of a world with another number for the first port of a replica, which is in its command.
fn with_port(world: &World, replica: usize, number: u16) -> Arc<Plan> {
    let mut plan = Plan::clone(&world.machine.plan);
    let mut replicas = plan.services.iter_mut().flat_map(|service| &mut service.replicas);
    replicas.nth(replica).unwrap().argv = vec!["serve".to_owned(), number.to_string()];
    Arc::new(plan)
}

#[test]
fn a_port_that_was_taken_is_changed_while_nobody_knows_it() {
    let mut world = World::new(vec![service("web", 1), service("late", 1)], vec![]);
    world.port_taken(0);
    assert_eq!(world.state(0), ReplicaState::Failed);
    assert_eq!(world.machine.state(), SessionState::Starting);
    let port = "http".to_owned();
    assert_eq!(
        world.orders.last(),
        Some(&Order::ChangePort { replica: 0, generation: 1, port: port.clone() })
    );
    let result = Ok((20001, 20002, with_port(&world, 0, 20002)));
    world.report(Report::PortChanged { replica: 0, generation: 1, port, result });
    assert_eq!(world.orders.last(), Some(&Order::StartReplica { replica: 0, generation: 2 }));
    assert_eq!(world.machine.replicas[0].plan.argv[1], "20002");
    assert_eq!(world.state(0), ReplicaState::Starting);
    world.check_fold();
}

#[test]
fn a_port_that_somebody_was_started_with_ends_the_start() {
    let mut world = World::new(vec![service("web", 1), service("peer", 1)], vec![]);
    world.port_taken(0);
    // The other one has it in its command too.
    let result = Ok((20001, 20002, with_port(&world, 1, 20002)));
    world.report(Report::PortChanged { replica: 0, generation: 1, port: "http".to_owned(), result });
    assert_eq!(world.machine.state(), SessionState::Stopping);
    let why = world.machine.why().unwrap().to_owned();
    assert!(why.contains("peer-1 has been told of it already"), "{why}");
}

#[test]
fn two_ports_that_were_taken_at_once_are_both_changed() {
    let mut world = World::new(vec![service("web", 2)], vec![]);
    world.port_taken(0);
    world.port_taken(1);
    for replica in 0..2 {
        let port = "http".to_owned();
        let result = Ok((20001, 20002, with_port(&world, 1, 20003)));
        world.report(Report::PortChanged { replica, generation: 1, port, result });
        assert_eq!(world.orders.last(), Some(&Order::StartReplica { replica, generation: 2 }));
    }
    world.check_fold();
}

#[test]
fn a_port_that_is_taken_later_is_a_failure_like_any_other() {
    let mut world = World::new(vec![service("web", 1)], vec![]);
    world.comes_up(0);
    world.act(Verb::Kill, "web-1");
    world.exits(0, code(9));
    world.act(Verb::Start, "web-1");
    world.port_taken(0);
    assert_eq!(world.state(0), ReplicaState::Failed);
    assert!(!world.orders.iter().any(|order| matches!(order, Order::ChangePort { .. })));
    world.check_fold();
}

/// Something that may happen next; which replica it concerns is the second number.
fn step() -> impl Strategy<Value = (u8, usize)> {
    (0..20u8, 0..6usize)
}

fn happens(world: &mut World, what: u8, replica: usize) {
    if what == 19 {
        // One of a few stacks, whatever is under way.
        let (services, tasks) = toys(replica);
        world.apply(services, tasks);
        return;
    }
    let generation = world.generation(replica);
    let alive = world.state(replica).is_alive();
    let has_pid = world.machine.replicas[replica].pid.is_some();
    let name = world.machine.name_of(replica);
    match what {
        0 if alive && !has_pid => {
            world.next_pid += 1;
            world.report(Report::ReplicaStarted { replica, generation, pid: world.next_pid });
        }
        1 if has_pid => world.report(Report::ReplicaReady { replica, generation, ready_ms: 1.5 }),
        2 if has_pid => {
            let (why, last_lines) = ("no".to_owned(), vec![]);
            world.report(Report::ReplicaNotReady { replica, generation, why, last_lines });
        }
        3 if has_pid => world.exits(replica, code(0)),
        4 if has_pid => world.exits(replica, code(1)),
        5 if alive && !has_pid => {
            let (why, last_lines) = ("no such file".to_owned(), vec![]);
            world.report(Report::ReplicaNotStarted { replica, generation, why, last_lines });
        }
        6 => world.report(Report::ReplicaFrozen { replica, generation, result: Ok(()) }),
        7 => world.report(Report::ReplicaThawed { replica, generation, result: Ok(()) }),
        8..15 => {
            world.act(Verb::ALL[usize::from(what - 8)], &name);
        }
        15 => {
            if let Some((timer, _)) = world.timers.pop() {
                world.give(Input::Timer(timer));
            }
        }
        16 if world.machine.tasks[0].state == TaskState::Running => {
            world.report(Report::TaskStarted { task: 0, pid: 3 });
            world.report(Report::TaskExited { task: 0, exit: code(0), duration_ms: 1, last_lines: vec![] });
        }
        17 if alive => world.port_taken(replica),
        18 if world.machine.replicas[replica].changing_port => {
            let result = if generation.is_multiple_of(2) {
                Ok((1, 2, Arc::clone(&world.machine.plan)))
            } else {
                Err("none is left".to_owned())
            };
            let port = "http".to_owned();
            world.report(Report::PortChanged { replica, generation, port, result });
        }
        _ => {}
    }
}

/// Stacks that a session may be made after one another.
fn toys(which: usize) -> (Vec<ServicePlan>, Vec<TaskPlan>) {
    let mut api = service("api", [2, 3, 1, 2, 2, 2][which]);
    api.boot = Boot::Serial;
    api.after = vec![after_task("migrate")];
    let mut worker = service("worker", 1);
    worker.restart = RestartPolicy::Always;
    let mut db = service("db", 1);
    if which == 3 {
        db.replicas[0].env.insert("LOG".to_owned(), "debug".to_owned());
        api.replicas[1].argv.push("more".to_owned());
    }
    let mut migrate = task("migrate", vec![after_service("db", Condition::Ready)]);
    if which == 4 {
        migrate.argv.push("again".to_owned());
    }
    let workers = if which == 5 { vec![] } else { vec![worker] };
    ([vec![db, api], workers].concat(), vec![migrate])
}

proptest! {
    #[test]
    fn whatever_happens_the_events_add_up_to_the_state(
        is_ready in any::<bool>(),
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let (services, tasks) = toys(0);
        let mut world = if is_ready { changes::ready(services, tasks) } else { World::new(services, tasks) };
        for (what, replica) in steps {
            let replica = if what == 19 { replica } else { replica % world.machine.replicas.len() };
            // What has frozen was asked to; the backend says nothing unasked.
            if matches!(what, 6 | 7) && !world.machine.replicas[replica].freezing {
                continue;
            }
            happens(&mut world, what, replica);
            if !matches!(world.machine.state(), SessionState::Stopping | SessionState::Ended) {
                world.check_fold();
            }
        }
        world.give(Input::End { why: "done".to_owned() });
        world.report(Report::Gone { why: None });
        world.check_fold();
        prop_assert_eq!(world.machine.state(), SessionState::Ended);
        for request in 1..=world.next_request {
            prop_assert!(world.answers.contains_key(&request), "request {} was never answered", request);
        }
    }
}
