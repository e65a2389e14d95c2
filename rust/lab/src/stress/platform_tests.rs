use super::*;

const LONG: Duration = Duration::from_secs(20);

#[test]
fn a_childs_end_is_told() {
    assert_eq!(fork_and_wait(LONG, || 7), End::Exited(7));
    assert_eq!(
        fork_and_wait(LONG, || {
            // SAFETY: ends this child.
            unsafe { libc::raise(libc::SIGKILL) }
        }),
        End::Signal(libc::SIGKILL)
    );
    assert_eq!(
        fork_and_wait(Duration::from_millis(30), || loop {
            std::thread::sleep(LONG)
        }),
        End::Hung
    );
}

#[test]
fn a_thread_moves_where_it_may() {
    let cpus = allowed_cpus();
    assert!(!cpus.is_empty());
    move_to(cpus[cpus.len() - 1]);
    assert_eq!(allowed_cpus(), [cpus[cpus.len() - 1]]);
}
