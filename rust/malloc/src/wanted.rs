//! What C asks of a new cache, as the core takes it.

use crate::abi::{SLAB_PANIC, kmem_cache_args, slab_flags_t};
use crate::failure::Failure;
use core::ffi::{CStr, c_char, c_int, c_uint, c_void};
use core::ptr::NonNull;
use haybarn_core::sync::Published;
use haybarn_core::{CacheArgs, CtorError, Hooks, SlabFlags};
use std::any::Any;
use std::sync::Arc;

/// A program's constructor and destructor.
struct Program {
    ctor: Option<unsafe extern "C" fn(*mut c_void)>,
    try_ctor: Option<unsafe extern "C" fn(*mut c_void) -> c_int>,
    dtor: Option<unsafe extern "C" fn(*mut c_void)>,
}

impl Hooks for Program {
    fn construct(&self, object: NonNull<u8>) -> Result<(), CtorError> {
        let object = object.as_ptr().cast();
        if let Some(ctor) = self.ctor {
            // SAFETY: whoever made the cache gave it for this.
            unsafe { ctor(object) };
        }
        // SAFETY: as above.
        match self.try_ctor.map_or(0, |ctor| unsafe { ctor(object) }) {
            0 => Ok(()),
            number => Err(CtorError(Box::new(number.saturating_abs()))),
        }
    }

    fn destruct(&self, object: NonNull<u8>) {
        if let Some(dtor) = self.dtor {
            // SAFETY: as above.
            unsafe { dtor(object.as_ptr().cast()) };
        }
    }

    fn has_dtor(&self) -> bool {
        self.dtor.is_some()
    }
}

/// What stays until a cache's last reader is gone.
struct Owner {
    address: usize,
    release: unsafe extern "C" fn(*mut c_void),
    /// 1 once the cache was made: one that was not has nothing to release.
    made: Published,
}

impl Drop for Owner {
    fn drop(&mut self) {
        if self.made.read() == 1 {
            // SAFETY: whoever made the cache gave it for this.
            unsafe { (self.release)(core::ptr::with_exposed_provenance_mut(self.address)) };
        }
    }
}

/// What C asks of a new cache.
pub struct Wanted<'a> {
    pub name: &'a str,
    pub size: usize,
    pub args: CacheArgs,
    owner: Option<Arc<Owner>>,
}

impl<'a> Wanted<'a> {
    /// # Errors
    /// EINVAL for a name that is NULL or no UTF-8, for two constructors, for a destructor without one.
    ///
    /// # Safety
    /// `name` is null or a text, `args` null or such a struct.
    pub unsafe fn new(
        name: *const c_char,
        size: c_uint,
        args: *const kmem_cache_args,
        flags: slab_flags_t,
    ) -> Result<Self, Failure> {
        // SAFETY: the caller's word, here and below.
        let args = unsafe { args.as_ref() }.unwrap_or(&kmem_cache_args::NONE);
        let bad = |why| Failure::Is(libc::EINVAL, why);
        if name.is_null() {
            return Err(bad("a cache's name is NULL"));
        }
        // SAFETY: as above.
        let name = unsafe { CStr::from_ptr(name) }.to_str().map_err(|_| bad("a cache's name is not UTF-8"))?;
        let has_ctor = args.ctor.is_some() || args.try_ctor.is_some();
        if args.ctor.is_some() && args.try_ctor.is_some() {
            return Err(bad("a cache has ctor or try_ctor, not both"));
        }
        if args.dtor.is_some() && !has_ctor {
            return Err(bad("a cache's dtor needs a ctor"));
        }
        let usercopy = (args.useroffset as usize, args.usersize as usize);
        let hooks = Program { ctor: args.ctor, try_ctor: args.try_ctor, dtor: args.dtor };
        let owner = args.release.map(|release| {
            Arc::new(Owner { address: args.owner.expose_provenance(), release, made: Published::new(0) })
        });
        let args = CacheArgs {
            owner: owner.clone().map(|owner| owner as Arc<dyn Any + Send + Sync>),
            align: args.align as usize,
            // What SLAB_PANIC asks is done here, where a program can end without a panic.
            flags: SlabFlags::from_bits_retain(flags & !SLAB_PANIC),
            sheaf_capacity: args.sheaf_capacity,
            freeptr_offset: args.use_freeptr_offset.then_some(args.freeptr_offset as usize),
            usercopy: (usercopy != (0, 0)).then_some(usercopy),
            hooks: has_ctor.then(|| Arc::new(hooks) as Arc<dyn Hooks>),
            ..CacheArgs::default()
        };
        Ok(Self { name, size: size as usize, args, owner })
    }

    /// The cache was made: from now on its owner is released.
    pub fn is_made(&self) {
        if let Some(owner) = &self.owner {
            owner.made.publish(1);
        }
    }
}
