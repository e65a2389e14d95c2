//! The oracle against allocators that break one rule each: it must say which, and say nothing about an honest one.

mod oracle_faulty;

use haybarn_lab::oracle::{Claims, Kind};
use haybarn_lab::stress::{Limits, Report, Run, SCENARIOS, scenario};
use oracle_faulty::{Fault, FaultyField};
use std::sync::Arc;
use std::time::Duration;

fn run(fault: Fault, name: &str, threads: u32) -> Report {
    injected(fault, name, threads, 0.0)
}

fn injected(fault: Fault, name: &str, threads: u32, inject: f64) -> Report {
    seeded(fault, name, threads, inject, 1)
}

fn seeded(fault: Fault, name: &str, threads: u32, inject: f64, seed: u64) -> Report {
    let limits =
        Limits { threads, time: Duration::from_secs(60), ops: Some(30_000), seed, long_campaign: false, inject };
    let scenario = scenario(name).expect("a scenario of that name");
    let run = Run::new(scenario, Arc::new(FaultyField(fault)), Arc::new(Claims::new()), limits, false).unwrap();
    std::thread::scope(|scope| {
        for index in 0..threads {
            let run = &run;
            scope.spawn(move || run.thread(index).unwrap());
        }
    });
    run.finish().unwrap()
}

/// The first violation of a thread alone must be of this kind: later ones may be consequences. So may the first be where another thread
/// has met the cause and was stopped before it could say so.
fn caught(fault: Fault, scenario: &str, threads: u32, kind: Kind) {
    if threads > 1 {
        return told(fault, scenario, threads, &format!("{scenario}: {}: cache ", kind.name()));
    }
    let report = run(fault, scenario, threads);
    assert!(report.violations > 0, "{fault:?} was not seen by {scenario}");
    assert!(!report.passed());
    let first = &report.examples[0];
    assert!(first.starts_with(&format!("{scenario}: {}: cache ", kind.name())), "{fault:?} in {scenario}: {first}");
    for word in ["expected", "saw"] {
        assert!(first.contains(word), "{first}");
    }
}

#[test]
fn an_honest_allocator_passes_every_scenario() {
    for scenario in SCENARIOS {
        // The honest allocator has a lock, and a lock that another thread held at the fork is never free in the child.
        let threads = if scenario.name == "fork" { 1 } else { 4 };
        let report = run(Fault::None, scenario.name, threads);
        assert!(report.passed(), "{}: {:?}", scenario.name, report.examples);
        assert!(report.ops > 30_000, "{}: {} operations", scenario.name, report.ops);
    }
}

/// A run stops at its eighth violation, and with several threads all eight may be consequences. Nearly every run sees something; one of
/// a few says this.
fn told(fault: Fault, scenario: &str, threads: u32, part: &str) {
    const SEEDS: u64 = 10;
    let mut said = Vec::new();
    for seed in 1..=SEEDS {
        let report = seeded(fault, scenario, threads, 0.0, seed);
        assert_eq!(report.passed(), report.violations == 0, "{report:?}");
        if let Some(example) = report.examples.iter().find(|example| example.contains(part)) {
            assert!(example.contains(": expected ") && example.contains(", saw "), "{example}");
            return;
        }
        said.push(report.examples);
    }
    panic!("{fault:?} in {scenario}: none of {SEEDS} runs says {part:?}: {said:?}");
}

/// With one thread it is the first that is seen. Of two, one may be letting go of the object while the other gets it again, a word
/// of bits after the other: then what is seen first is a consequence.
#[test]
fn an_object_handed_out_twice_is_seen() {
    for (fault, scenario) in [
        (Fault::HandsOutTwice, "churn"),
        (Fault::HandsOutTwice, "remote"),
        (Fault::HandsOutTwice, "burst"),
        (Fault::HandsOutTwice, "shrink-under-load"),
        (Fault::BulkRepeatsItself, "bulk"),
    ] {
        handed_out_twice(fault, scenario, 2);
    }
}

fn handed_out_twice(fault: Fault, scenario: &str, threads: u32) {
    caught(fault, scenario, 1, Kind::HandedOutTwice);
    told(fault, scenario, threads, &format!("{scenario}: {}: cache ", Kind::HandedOutTwice.name()));
}

#[test]
fn a_storage_that_breaks_its_promises_is_seen() {
    for (fault, part) in [
        (Fault::SetsUpTwice, "expected one cache in a storage, saw it was made again"),
        (Fault::ReusesReadStorage, "expected no setup while attributes are being read"),
        (Fault::DropsTheOwner, "expected an owner that stays until its last reader lets go"),
        (Fault::KeepsTheOwner, "expected no owner after the last reader"),
    ] {
        told(fault, "prealloc", 4, part);
    }
}

#[test]
fn memory_by_size_that_is_not_as_asked_for_is_seen() {
    handed_out_twice(Fault::HandsOutTwice, "kmalloc", 4);
    for (fault, kind) in [
        (Fault::Misaligns, Kind::Misaligned),
        (Fault::DoesNotZero, Kind::NotZeroed),
        (Fault::Refuses, Kind::Refused),
        (Fault::LosesAnObject, Kind::Conservation),
        // What is rounded down ends inside of what was asked for.
        (Fault::RoundsDown, Kind::OffTheGrid),
        // krealloc moves half of the contents.
        (Fault::ForgetsTheRest, Kind::Contents),
        // krealloc leaves what is new in place as it was.
        (Fault::LeavesTheTail, Kind::NotZeroed),
    ] {
        caught(fault, "kmalloc", 4, kind);
    }
}

#[test]
fn the_message_names_the_object_its_holder_and_who_saw_it() {
    let first = run(Fault::HandsOutTwice, "burst", 1).examples.remove(0);
    for part in [
        "burst: handed out twice: cache burst-",
        "object at 0x",
        "thread 0: expected",
        "saw the stamp of thread 0, object number",
    ] {
        assert!(first.contains(part), "{part:?} is not in {first}");
    }
}

#[test]
fn an_object_that_is_free_before_its_readers_leave_is_seen() {
    told(Fault::FreesTooEarly, "rcu", 4, "rcu: ");
}

#[test]
fn overlapping_objects_are_seen() {
    for scenario in ["churn", "burst"] {
        caught(Fault::Overlaps, scenario, 2, Kind::Overlap);
    }
}

#[test]
fn a_misaligned_object_is_seen() {
    for scenario in ["churn", "remote", "burst", "create-destroy"] {
        caught(Fault::Misaligns, scenario, 2, Kind::Misaligned);
    }
}

#[test]
fn a_lost_object_is_seen_by_the_count_or_by_its_slab() {
    for scenario in ["churn", "remote", "burst", "bulk", "shrink-under-load"] {
        caught(Fault::LosesAnObject, scenario, 2, Kind::Conservation);
        caught(Fault::LosesAndForgets, scenario, 2, Kind::Conservation);
    }
}

#[test]
fn changed_contents_are_seen() {
    for scenario in ["churn", "burst"] {
        caught(Fault::CorruptsNeighbour, scenario, 2, Kind::Contents);
    }
}

#[test]
fn a_forked_child_sees_for_itself() {
    let report = run(Fault::CorruptsNeighbour, "fork", 1);
    assert!(report.violations > 0);
    let in_child = format!("one that saw a violation: {}", Kind::Contents.name());
    let told = |example: &String| example.contains(&in_child) || example.contains(Kind::Contents.name());
    assert!(report.examples.iter().any(told), "{:?}", report.examples);
}

#[test]
fn an_object_that_is_not_zeroed_is_seen() {
    caught(Fault::DoesNotZero, "churn", 2, Kind::NotZeroed);
}

#[test]
fn a_needless_refusal_is_seen() {
    caught(Fault::Refuses, "churn", 2, Kind::Refused);
    caught(Fault::RefusesBulk, "bulk", 2, Kind::Refused);
}

#[test]
fn objects_that_were_set_aside_and_are_not_there_are_seen() {
    caught(Fault::PromisesTooMuch, "prefill", 2, Kind::Refused);
    caught(Fault::SetsTooFewAside, "prefill", 2, Kind::Refused);
    // Faults are no excuse: what was set aside can be taken while everything fails.
    let report = injected(Fault::PromisesTooMuch, "prefill", 2, 0.5);
    assert!(
        report.examples.iter().any(|example| example.contains("an object of 1 set aside")),
        "{:?}",
        report.examples
    );
}

#[test]
fn an_address_that_the_allocator_itself_does_not_know_is_seen() {
    caught(Fault::HandsOutForeignMemory, "churn", 2, Kind::OffTheGrid);
}

#[test]
fn counters_that_do_not_add_up_are_seen() {
    caught(Fault::MiscountsHits, "churn", 2, Kind::Conservation);
    caught(Fault::MiscountsSlabs, "churn", 2, Kind::Conservation);
}

#[test]
fn destroying_a_cache_with_live_objects_is_seen() {
    caught(Fault::DestroysWithLiveObjects, "create-destroy", 2, Kind::Lifetime);
}

#[test]
fn a_failed_validation_is_seen() {
    caught(Fault::FailsValidation, "churn", 1, Kind::Invalid);
}

#[test]
fn a_cache_that_cannot_be_made_is_an_error_before_the_run_and_a_violation_in_it() {
    let limits =
        Limits { threads: 1, time: Duration::from_secs(1), ops: None, seed: 1, long_campaign: false, inject: 0.0 };
    let field = Arc::new(FaultyField(Fault::CannotBeMade));
    let error = Run::new(scenario("churn").unwrap(), field, Arc::new(Claims::new()), limits, false).err().unwrap();
    assert_eq!(error, "no cache today");
    caught(Fault::CannotBeMade, "create-destroy", 1, Kind::Lifetime);
}

/// The faults are haybarn's, and this allocator asks none of them: what it refuses, it refuses by itself.
#[test]
fn with_injected_failures_one_that_no_fault_has_caused_is_seen() {
    for (fault, scenario) in [(Fault::Refuses, "churn"), (Fault::RefusesBulk, "bulk")] {
        let report = injected(fault, scenario, 2, 0.5);
        assert!(report.refused > 0 && report.faults == 0, "{report:?}");
        let expected = "at most 0 failures, as many as were injected";
        assert!(report.examples.iter().any(|text| text.contains(expected)), "{:?}", report.examples);
    }
    assert!(injected(Fault::None, "churn", 2, 0.5).passed());
}

#[test]
fn a_probability_that_is_none_is_an_error_before_the_run() {
    let limits =
        Limits { threads: 1, time: Duration::from_secs(1), ops: None, seed: 1, long_campaign: false, inject: 1.5 };
    let field = Arc::new(FaultyField(Fault::None));
    let error = Run::new(scenario("churn").unwrap(), field, Arc::new(Claims::new()), limits, false).err().unwrap();
    assert_eq!(error, "inject: probability = 1.5 is not legal: 0 to 1");
}

#[test]
fn a_run_is_finished_once_and_by_itself() {
    let limits = Limits { threads: 1, time: Duration::ZERO, ops: None, seed: 1, long_campaign: false, inject: 0.0 };
    let scenario = scenario("churn").unwrap();
    let run = Run::new(scenario, Arc::new(FaultyField(Fault::None)), Arc::new(Claims::new()), limits, false).unwrap();
    assert!(run.thread(1).unwrap_err().contains("not one of 1"));
    run.thread(0).unwrap();
    assert!(run.thread(0).unwrap_err().contains("run before"));
    run.finish().unwrap();
    assert!(run.finish().unwrap_err().contains("finished before"));
}

#[test]
fn one_thread_does_the_same_operations_for_the_same_seed() {
    let text = |report: Report| format!("{} {:?}", report.ops, report.counters);
    for scenario in ["churn", "remote", "burst", "bulk", "create-destroy"] {
        assert_eq!(text(run(Fault::None, scenario, 1)), text(run(Fault::None, scenario, 1)));
    }
}
