//! Who does which step: the plan cut by CPU, and where each object waits between its allocation and its free.
//!
//! Steps of one CPU keep the recorded order. An object whose free another CPU makes is handed over through a shared place, and
//! its free waits there until the allocation has happened. Every wait is for a step that is earlier in the recorded order, so
//! the earliest step that is not done can always be done: no deadlock, however CPUs are folded together.

#![forbid(unsafe_code)]

use super::plan::{Op, Plan};

/// Where an object is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// With the thread that allocates and frees it.
    Own(u32),
    /// Where every thread can reach it.
    Shared(u32),
}

/// A step with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Routed {
    pub op: Op,
    pub place: Place,
}

/// The steps of one thread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Route {
    pub cpu: u16,
    pub steps: Vec<Routed>,
    /// Own places that are needed.
    pub own: u32,
}

/// Cuts `plan` by CPU; also the number of shared places.
pub(super) fn routes(plan: &Plan) -> (Vec<Route>, u32) {
    let cpus = plan.cpus();
    let mut by_cpu = vec![0; cpus.last().map_or(0, |&last| usize::from(last) + 1)];
    for (index, &cpu) in cpus.iter().enumerate() {
        by_cpu[usize::from(cpu)] = index;
    }
    let mut routes: Vec<Route> = cpus.into_iter().map(|cpu| Route { cpu, ..Route::default() }).collect();
    let mut freed_on = vec![None; plan.objects.len()];
    for op in plan.ops.iter().filter(|op| op.free) {
        freed_on[op.object as usize] = Some(op.cpu);
    }
    let mut shared = 0;
    let mut places = vec![Place::Own(0); plan.objects.len()];
    for &op in &plan.ops {
        let route = &mut routes[by_cpu[usize::from(op.cpu)]];
        if !op.free {
            let next = match freed_on[op.object as usize] {
                Some(other) if other != op.cpu => Place::Shared(take(&mut shared)),
                _ => Place::Own(take(&mut route.own)),
            };
            places[op.object as usize] = next;
        }
        route.steps.push(Routed { op, place: places[op.object as usize] });
    }
    (routes, shared)
}

fn take(next: &mut u32) -> u32 {
    *next += 1;
    *next - 1
}

#[cfg(test)]
#[path = "routes_tests.rs"]
mod tests;
