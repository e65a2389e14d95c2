//! Faults of one thread, so that the other tests of this process notice nothing.

use super::{FaultAttr, Point, fail_page_alloc, request};

fn mine(attr: FaultAttr) -> FaultAttr {
    FaultAttr { this_thread: true, ..attr }
}

/// Which of `n` requests for 100 bytes fail.
fn failing(n: usize) -> Vec<usize> {
    (0..n).filter(|_| !request(Point::Wrapper, 100)).collect()
}

fn with(attr: FaultAttr, n: usize) -> Vec<usize> {
    let guard = fail_page_alloc(mine(attr)).unwrap();
    let failed = (0..n).filter(|_| !request(Point::Pages, 100)).collect::<Vec<_>>();
    assert_eq!(guard.fired(), failed.len() as u64);
    assert_eq!(guard.end(), failed.len() as u64);
    assert_eq!(failing(5), Vec::<usize>::new(), "the fault has ended");
    failed
}

#[test]
fn probability_0_fails_nothing_and_1_everything() {
    assert_eq!(with(FaultAttr { probability: 0.0, ..FaultAttr::default() }, 1000), Vec::<usize>::new());
    assert_eq!(with(FaultAttr::default(), 100).len(), 100);
}

#[test]
fn a_probability_in_the_middle_is_fair() {
    for probability in [0.02, 0.5, 0.9] {
        let n = 20_000;
        let failed = with(FaultAttr { probability, ..FaultAttr::default() }, n);
        let expected = n as f64 * probability;
        let deviation = (expected * (1.0 - probability)).sqrt();
        // One run in fifteen thousand would miss four deviations; the numbers are the same in each run of this test alone.
        assert!((failed.len() as f64 - expected).abs() < 5.0 * deviation, "{} of {n} at {probability}", failed.len());
        let gaps = failed.windows(2).filter(|pair| pair[1] == pair[0] + 1).count() as f64;
        let in_a_row = expected * probability;
        assert!((gaps - in_a_row).abs() < 6.0 * in_a_row.sqrt() + 6.0, "failures in a row: {gaps}, not {in_a_row}");
    }
}

#[test]
fn each_so_many_th_request_is_tried() {
    assert_eq!(with(FaultAttr { interval: 3, ..FaultAttr::default() }, 10), [2, 5, 8]);
}

#[test]
fn space_is_granted_first() {
    // While more than a request is left: as Linux counts, 300 bytes are two requests of 100, not three.
    assert_eq!(with(FaultAttr { space: 300, ..FaultAttr::default() }, 4), [2, 3]);
    assert_eq!(with(FaultAttr { space: 301, ..FaultAttr::default() }, 4), [3]);
}

#[test]
fn times_end_it() {
    assert_eq!(with(FaultAttr { times: Some(2), ..FaultAttr::default() }, 9), [0, 1]);
    assert_eq!(with(FaultAttr { times: Some(0), ..FaultAttr::default() }, 9), Vec::<usize>::new());
    let all = FaultAttr { interval: 2, space: 250, times: Some(2), ..FaultAttr::default() };
    assert_eq!(with(all, 9), [3, 5]);
}

#[test]
fn another_thread_is_left_alone() {
    let guard = fail_page_alloc(mine(FaultAttr::default())).unwrap();
    assert_eq!(std::thread::spawn(|| failing(5)).join().unwrap(), Vec::<usize>::new());
    assert_eq!(guard.fired(), 0);
    assert_eq!(failing(2), [0, 1]);
}

#[test]
fn several_at_once_count_each_for_itself() {
    let second = fail_page_alloc(mine(FaultAttr { interval: 2, ..FaultAttr::default() })).unwrap();
    let third = fail_page_alloc(mine(FaultAttr { interval: 3, times: Some(1), ..FaultAttr::default() })).unwrap();
    assert_eq!(failing(8), [1, 2, 3, 5, 7]);
    assert_eq!((second.fired(), third.end()), (4, 1));
    assert_eq!(failing(2), [1]);
    assert_eq!(second.end(), 5);
    assert_eq!(failing(4), Vec::<usize>::new());
}

#[test]
fn an_entry_is_used_again_and_counts_from_nothing() {
    for _ in 0..200 {
        assert_eq!(with(FaultAttr { times: Some(3), ..FaultAttr::default() }, 5), [0, 1, 2]);
    }
    let entries = super::list::made();
    assert!(entries < 100, "{entries} entries for a few faults at a time");
}

/// Faults come and go while other threads ask: what fired for all of them is what was seen to fail.
#[test]
fn no_failure_without_a_fault_that_counts_it() {
    let (mut fired, mut seen) = (0, 0);
    std::thread::scope(|scope| {
        let threads = (0..3).map(|_| {
            scope.spawn(|| {
                let (mut fired, mut seen) = (0, 0);
                for _ in 0..300 {
                    let guard = fail_page_alloc(mine(FaultAttr { probability: 0.3, ..FaultAttr::default() })).unwrap();
                    seen += failing(20).len() as u64;
                    fired += guard.end();
                    seen += failing(1).len() as u64;
                }
                (fired, seen)
            })
        });
        for thread in threads.collect::<Vec<_>>() {
            let (more_fired, more_seen) = thread.join().unwrap();
            fired += more_fired;
            seen += more_seen;
        }
    });
    assert!(fired > 0);
    assert_eq!(fired, seen);
}
