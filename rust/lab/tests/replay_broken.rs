//! Allocators that are broken on purpose: a replay must see each of them, and must end.

use haybarn_lab::replay::{
    Block, Design, Made, Plan, PlannedObject, RunError, Served, System, Usage, threads, virtual_cpus,
};
use haybarn_lab::trace::Reader;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Mutex;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    HandsOutTwice,
    Overlaps,
    Misaligned,
    WritesIntoLive,
    RunsOut,
    Panics,
}

/// The system's malloc with a fault that shows at one allocation in a hundred. What it hands out is never given back.
struct Broken {
    fault: Fault,
    inner: System,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    calls: u32,
    last: Option<usize>,
}

const SIZE: usize = 64;

impl Broken {
    fn new(fault: Fault, plan: &Plan) -> Self {
        Broken { fault, inner: System::new(plan), state: Mutex::default() }
    }

    /// Fresh memory, more than any object of this design, leaked.
    fn fresh() -> usize {
        Box::leak(vec![0u128; 2 * SIZE / 16].into_boxed_slice()).as_mut_ptr().expose_provenance()
    }

    fn address(&self, state: &mut State) -> usize {
        let faulty = state.calls.is_multiple_of(100);
        match (self.fault, state.last) {
            (Fault::HandsOutTwice, Some(last)) if faulty => last,
            (Fault::Overlaps, Some(last)) if faulty => last + 16,
            (Fault::Misaligned, _) if faulty => Self::fresh() + 4,
            (Fault::WritesIntoLive, Some(last)) if faulty => {
                // SAFETY: leaked memory; the fault under test.
                unsafe { *std::ptr::with_exposed_provenance_mut::<u8>(last + 9) ^= 1 };
                Self::fresh()
            }
            _ => Self::fresh(),
        }
    }
}

impl Design for Broken {
    fn alloc(&self, _object: &PlannedObject, id: u32) -> Option<(Block, Option<Served>)> {
        let mut state = self.state.lock().unwrap();
        state.calls += 1;
        match self.fault {
            Fault::RunsOut if state.calls == 5000 => return None,
            Fault::Panics if state.calls == 5000 => {
                drop(state);
                panic!("planted");
            }
            _ => {}
        }
        let address = self.address(&mut state);
        state.last = Some(address);
        let address = NonNull::new(std::ptr::with_exposed_provenance_mut(address))?;
        // SAFETY: leaked memory of that size; that two blocks may share it is the fault under test, and the lock is held.
        Some((unsafe { Block::stamped(address, SIZE, id) }, Some(Served::Sheaf)))
    }

    fn free(&self, _cache: u32, block: Block) {
        let _leaked = block.into_raw();
    }

    fn align(&self, _cache: u32) -> usize {
        8
    }

    fn usage(&self, cache: u32) -> Option<Usage> {
        self.inner.usage(cache)
    }

    fn made(&self, cache: u32) -> Option<Made> {
        self.inner.made(cache)
    }

    fn counters(&self, cache: u32) -> Vec<(&'static str, u64)> {
        self.inner.counters(cache)
    }

    fn finish(&self) -> Vec<String> {
        self.inner.finish()
    }
}

fn plan() -> Plan {
    let mut reader = Reader::new(true);
    reader.file(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/kmem-gcc.ftrace.txt.gz")).unwrap();
    Plan::new(&reader.finish())
}

#[test]
fn faults_are_violations() {
    let plan = plan();
    for (fault, text) in [
        (Fault::HandsOutTwice, "was changed while live, first at byte 0"),
        (Fault::Overlaps, "was changed while live, first at byte 16"),
        (Fault::Misaligned, "is not aligned to 8 bytes"),
        (Fault::WritesIntoLive, "was changed while live, first at byte 8"),
    ] {
        let design = Broken::new(fault, &plan);
        let mut outcome = virtual_cpus::run(&plan, &design, |_| ()).unwrap();
        outcome.close(&plan, &design, |_| ());
        assert!(outcome.violations.count > 0, "{fault:?}");
        let seen = outcome.violations.texts.iter().any(|found| found.contains(text));
        assert!(seen, "{fault:?}: {:?}", &outcome.violations.texts[..1]);
    }
}

#[test]
fn a_run_that_fails_ends() {
    let plan = plan();
    for fault in [Fault::RunsOut, Fault::Panics] {
        let design = Broken::new(fault, &plan);
        let error = threads::run(&plan, &design).unwrap_err();
        match fault {
            Fault::RunsOut => assert!(matches!(&error, RunError::OutOfMemory { .. }), "{error}"),
            _ => assert!(matches!(&error, RunError::Panicked(_)), "{error}"),
        }
    }
    let design = Broken::new(Fault::RunsOut, &plan);
    assert!(virtual_cpus::run(&plan, &design, |_| ()).is_err());
}
