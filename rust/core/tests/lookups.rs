//! Asking whose an address is, while the slabs that it may lie in die and are made anew.

use haybarn::sync::Published;
use haybarn::{AllocFlags, Arena, ArenaConfig, BackendKind, CacheArgs, Error, RawCache};
use std::time::{Duration, Instant};

const CHUNK: usize = 2 << 20;

#[test]
fn an_answer_is_right_or_an_error_while_slabs_come_and_go() {
    let config = ArenaConfig { backend: Some(BackendKind::Virtual), cpus: Some(2), ..ArenaConfig::default() };
    let cache = RawCache::create(Arena::create(config).unwrap(), "lookups", 3000, &CacheArgs::default()).unwrap();
    let info = cache.info();
    let kept = cache.alloc(AllocFlags::empty()).unwrap();
    let base = kept.addr().get() & !(CHUNK - 1);
    let stop = Published::new(0);
    let (mut asked, mut found) = (0u64, 0u64);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let end = Instant::now() + Duration::from_millis(1500);
            while Instant::now() < end {
                let objects: Vec<_> = (0..500).map(|_| cache.alloc(AllocFlags::empty()).unwrap()).collect();
                for object in objects {
                    // SAFETY: just allocated, given up here.
                    unsafe { cache.free(object) };
                }
                let _ = cache.shrink();
            }
            stop.publish(1);
        });
        while stop.read() == 0 {
            asked += 1;
            let offset = ((asked as usize).wrapping_mul(2_654_435_761) % CHUNK) & !7;
            match cache.check((base + offset) as *const u8) {
                // Slabs are aligned to their size, so the answer can be computed from the address alone.
                Ok(index) => {
                    found += 1;
                    assert_eq!(offset & ((4096 << info.order) - 1), index.0 as usize * info.slab_size);
                }
                Err(Error::BadPointer { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
    assert!(found > 0 && found < asked, "{found} of {asked}");
    // SAFETY: nobody else uses the cache.
    unsafe {
        cache.free(kept);
        cache.destroy().unwrap();
    }
}
