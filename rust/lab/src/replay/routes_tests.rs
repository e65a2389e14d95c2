#![forbid(unsafe_code)]

use super::super::plan::{Op, Plan, PlannedObject};
use super::{Place, routes};

fn op(object: u32, cpu: u16, free: bool) -> Op {
    Op { object, cpu, free }
}

#[test]
fn objects_that_change_cpu_are_shared() {
    let object = PlannedObject { cache: 0, bytes_req: 8, bytes_alloc: 8 };
    let plan = Plan {
        objects: vec![object; 3],
        ops: vec![op(0, 5, false), op(1, 5, false), op(2, 1, false), op(0, 5, true), op(1, 1, true)],
        ..Plan::default()
    };
    let (routes, shared) = routes(&plan);
    assert_eq!(shared, 1);
    let seen: Vec<_> = routes.iter().map(|route| (route.cpu, route.own, route.steps.len())).collect();
    assert_eq!(seen, [(1, 1, 2), (5, 1, 3)]);
    let places: Vec<_> = routes.iter().flat_map(|route| route.steps.iter().map(|step| step.place)).collect();
    assert_eq!(places, [Place::Own(0), Place::Shared(0), Place::Own(0), Place::Shared(0), Place::Own(0)]);
}
