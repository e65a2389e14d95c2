#![forbid(unsafe_code)]

use super::{allowed, pin};

#[test]
fn a_thread_is_pinned_where_it_may_run() {
    let cpu = *allowed().last().expect("some CPU");
    std::thread::spawn(move || {
        assert!(pin(cpu));
        assert_eq!(allowed(), [cpu]);
    })
    .join()
    .unwrap();
    assert!(!pin(usize::MAX));
    assert!(allowed().contains(&cpu));
}
