//! The first object that a process gives to `free_rcu`: whoever waits for all must find it, so what flushes it is among the flushers
//! before anybody can free, from the making of the first cache on. A process of its own: nothing has been freed in it before.

mod support;

use haybarn::{CacheArgs, rcu, service};
use std::sync::Barrier;
use std::thread;
use support::{PLAIN, create, every_arena};

#[test]
fn a_barrier_of_all_finds_the_first_free_of_all() {
    assert_eq!(rcu::flushers(), 0, "nothing was made yet");
    // Nobody helps.
    service::stop();
    for arena in every_arena() {
        let cache = create(arena, "first", 64, &CacheArgs::default());
        assert_eq!(rcu::flushers(), 1, "registered with the first cache, not with the first free, and once");
        let given = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                let object = cache.alloc(PLAIN).expect("memory");
                // SAFETY: ours, and nobody else knows it.
                unsafe { cache.free_rcu(object) }.expect("no read section");
                given.wait();
            });
            given.wait();
            rcu::barrier().expect("no read section");
            assert_eq!(cache.rcu_pending(), 0, "the barrier knew nothing of what was given");
        });
        support::end(cache);
    }
    service::allow();
}
