//! Hooks that are given after their cache is made, so that they can name it.

use super::create;
use haybarn::{Arena, CacheArgs, CtorError, Hooks, RawCache, SlabFlags};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

type Callback = Box<dyn Fn(NonNull<u8>) -> Result<(), CtorError> + Send + Sync>;

/// See above.
#[derive(Default)]
pub struct Late {
    construct: Mutex<Option<Arc<Callback>>>,
    destruct: Mutex<Option<Arc<Callback>>>,
}

impl Late {
    pub fn args(self: &Arc<Self>) -> CacheArgs {
        CacheArgs { hooks: Some(self.clone()), ..CacheArgs::default() }
    }

    pub fn on_construct(&self, call: impl Fn(NonNull<u8>) -> Result<(), CtorError> + Send + Sync + 'static) {
        *self.construct.lock().unwrap() = Some(Arc::new(Box::new(call)));
    }

    pub fn on_destruct(&self, call: impl Fn(NonNull<u8>) + Send + Sync + 'static) {
        let call = move |object: NonNull<u8>| {
            call(object);
            Ok(())
        };
        *self.destruct.lock().unwrap() = Some(Arc::new(Box::new(call)));
    }

    pub fn quiet(&self) {
        *self.construct.lock().unwrap() = None;
        *self.destruct.lock().unwrap() = None;
    }
}

impl Hooks for Late {
    fn construct(&self, object: NonNull<u8>) -> Result<(), CtorError> {
        let call = self.construct.lock().unwrap().clone();
        call.map_or(Ok(()), |call| call(object))
    }

    fn destruct(&self, object: NonNull<u8>) {
        let call = self.destruct.lock().unwrap().clone();
        let _done = call.map(|call| call(object));
    }
}

/// A cache with hooks and one without, neither with sheaves: every call comes by the slow paths, where re-entry is seen.
pub fn two_caches(arena: &'static Arena) -> (Arc<Late>, RawCache, RawCache) {
    let hooks = Arc::<Late>::default();
    let flags = SlabFlags::NOLEAKTRACE;
    let first = create(arena, "first", 512, &CacheArgs { flags, ..hooks.args() });
    let other = create(arena, "other", 64, &CacheArgs { flags, ..CacheArgs::default() });
    (hooks, first, other)
}
