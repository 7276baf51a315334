//! `after`: what comes after what, and whether that can be.

use crate::declare::{AfterDecl, Process};
use crate::edits::{ask_for, of_profiles};
use crate::fault::Fault;
use crate::near::{nearest, suggestion};
use crate::order;
use crate::plan::{Condition, Dependency, UnitName};
use crate::planner::Planner;
use crate::source::Place;

/// A service or task as the order sees it.
struct Unit<'a> {
    name: UnitName,
    place: &'a Place,
    after: &'a [AfterDecl],
}

impl<'a> Planner<'a> {
    /// The units in an order in which they can be started; every way in which there is none is noted.
    pub(crate) fn order(&mut self) -> Vec<UnitName> {
        let units = self.units();
        let mut edges = Vec::new();
        for unit in &units {
            let mut on = Vec::new();
            for after in unit.after {
                let name = &after.on.value;
                let index = units.iter().position(|other| other.name.to_string() == *name);
                if index.is_some_and(|index| units[index].name == unit.name) {
                    self.faults.push(Fault::new(
                        &after.on.place,
                        format!("`{name}` comes after itself"),
                        "this can never start",
                    ));
                } else if let Some(index) = index {
                    self.check_condition(after, &units[index].name);
                    on.push(index);
                } else {
                    self.nothing(after, &units);
                }
            }
            edges.push(on);
        }
        let sorted = order::sort(&edges);
        for cycle in sorted.cycles {
            let cycle: Vec<_> = cycle.iter().map(|&unit| &units[unit]).collect();
            self.faults.push(cycle_fault(&cycle));
        }
        sorted.order.iter().map(|&unit| units[unit].name.clone()).collect()
    }

    /// What one unit comes after. What is wrong with it is noted by `order`.
    pub(crate) fn dependencies(&self, process: &Process) -> Vec<Dependency> {
        let units = self.units();
        let after = process.after.as_deref().unwrap_or_default();
        after
            .iter()
            .filter_map(|after| {
                let on = units.iter().find(|unit| unit.name.to_string() == after.on.value)?.name.clone();
                let default = match on {
                    UnitName::Service(_) => Condition::Ready,
                    UnitName::Task(_) => Condition::Succeeded,
                };
                let condition = after.condition.as_ref().map_or(default, |(condition, _)| *condition);
                Some(Dependency { on, condition })
            })
            .collect()
    }

    /// Services and tasks in the order of the file.
    fn units(&self) -> Vec<Unit<'a>> {
        let stack = self.stack;
        let services = stack.services.iter().map(|one| Unit {
            name: UnitName::Service(one.name.clone()),
            place: &one.place,
            after: one.process.after.as_deref().unwrap_or_default(),
        });
        let tasks = stack.tasks.iter().map(|one| Unit {
            name: UnitName::Task(one.name.clone()),
            place: &one.place,
            after: one.process.after.as_deref().unwrap_or_default(),
        });
        let mut units: Vec<_> = services.chain(tasks).collect();
        units.sort_by_key(|unit| unit.place.position());
        units
    }

    fn check_condition(&mut self, after: &AfterDecl, on: &UnitName) {
        let Some((condition, place)) = &after.condition else { return };
        let (kind, label) = match (on, condition) {
            (UnitName::Service(_), Condition::Succeeded) => ("service", "expected `ready` or `started`"),
            (UnitName::Task(_), Condition::Ready) => ("task", "expected `succeeded` or `started`"),
            _ => return,
        };
        let word = place.raw().trim_matches(['"', '\'']);
        let message = format!("`{on}` is a {kind}, which is never `{word}`");
        self.faults.push(Fault::new(place, message, label));
    }

    fn nothing(&mut self, after: &AfterDecl, units: &[Unit<'_>]) {
        let name = &after.on.value;
        if let Some((_, profiles)) = self.stack.inactive.iter().find(|(one, _)| one == name) {
            let message = format!("`{name}` is there only with {}", of_profiles(profiles));
            let fault =
                Fault::new(&after.on.place, message, "this comes after something that does not start");
            self.faults.push(fault.with_help(ask_for(profiles)));
            return;
        }
        let names: Vec<_> = units.iter().map(|unit| unit.name.to_string()).collect();
        let names = names.iter().map(String::as_str);
        let help = match name.rsplit_once('-') {
            // Dependencies are on whole services.
            Some((service, _)) if names.clone().any(|one| one == service) => {
                Some(format!("did you mean `{service}`, all of its replicas?"))
            }
            _ => nearest(name, names.clone())
                .map(|near| format!("did you mean `{near}`?"))
                .or_else(|| suggestion(name, "services and tasks", names)),
        };
        let message = format!("there is no service or task `{name}`");
        self.faults
            .push(Fault::new(&after.on.place, message, "this depends on nothing").with_maybe_help(help));
    }
}

/// The whole cycle, with every dependency on it shown.
fn cycle_fault(cycle: &[&Unit<'_>]) -> Fault {
    let next = |index: usize| cycle[(index + 1) % cycle.len()];
    let place = |index: usize| {
        let to = next(index).name.to_string();
        let after = cycle[index].after.iter().find(|after| after.on.value == to);
        after.map_or(cycle[index].place, |after| &after.on.place)
    };
    let label = |index: usize| format!("`{}` comes after `{}`", cycle[index].name, next(index).name);
    let mut names: Vec<_> = cycle.iter().map(|unit| format!("`{}`", unit.name)).collect();
    names.extend(names.first().cloned());
    let message = format!("a cycle, in which nothing can start first: {}", names.join(" after "));
    let fault = Fault::new(place(0), message, label(0)).with_help("take one of these out of its `after`");
    (1..cycle.len()).fold(fault, |fault, index| fault.also(place(index), label(index)))
}
