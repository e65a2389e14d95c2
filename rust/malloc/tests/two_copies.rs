//! Two copies of the core in one process: the one that this test is linked with, and the one in `libhaybarn.so`. Each has an
//! arena of its own, and each refuses the other's pointers.

#[path = "programs/library.rs"]
mod library;

use core::ffi::{CStr, c_char, c_int, c_uint, c_void};
use haybarn_core::kmalloc::{kfree, kfree_checked, kmalloc, ksize, ksize_checked, try_kfree};
use haybarn_core::{AllocFlags, Arena, CacheArgs, CacheName, Error};
use std::ffi::CString;

type Ctor = Option<extern "C" fn(*mut c_void)>;

/// What the test calls of the library.
struct Library {
    kmalloc: unsafe extern "C" fn(usize, c_uint) -> *mut c_void,
    kfree: unsafe extern "C" fn(*const c_void),
    ksize: unsafe extern "C" fn(*const c_void) -> usize,
    create: unsafe extern "C" fn(*const c_char, c_uint, c_uint, c_uint, Ctor) -> *mut c_void,
    destroy: unsafe extern "C" fn(*mut c_void) -> c_int,
    alloc: unsafe extern "C" fn(*mut c_void, c_uint) -> *mut c_void,
    free: unsafe extern "C" fn(*mut c_void, *mut c_void),
    check: unsafe extern "C" fn(*mut c_void, *const c_void) -> c_int,
    free_rcu: unsafe extern "C" fn(*mut c_void, *mut c_void) -> c_int,
    error: unsafe extern "C" fn() -> *const c_char,
}

impl Library {
    fn open() -> Self {
        let path = CString::new(library::folder().join("libhaybarn.so").to_str().unwrap()).unwrap();
        // SAFETY: the library has no initialisers that do anything.
        let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        // SAFETY: a text, after a failure.
        assert!(!library.is_null(), "{:?}", unsafe { CStr::from_ptr(libc::dlerror()) });
        // SAFETY: the functions have these types, by haybarn.h.
        unsafe {
            Self {
                kmalloc: symbol(library, c"kmalloc"),
                kfree: symbol(library, c"kfree"),
                ksize: symbol(library, c"ksize"),
                create: symbol(library, c"__kmem_cache_create"),
                destroy: symbol(library, c"kmem_cache_destroy"),
                alloc: symbol(library, c"kmem_cache_alloc"),
                free: symbol(library, c"kmem_cache_free"),
                check: symbol(library, c"kmem_cache_check"),
                free_rcu: symbol(library, c"kmem_cache_free_rcu"),
                error: symbol(library, c"haybarn_error"),
            }
        }
    }

    fn said(&self) -> String {
        // SAFETY: a text of this thread's.
        unsafe { CStr::from_ptr((self.error)()) }.to_str().unwrap().to_owned()
    }
}

/// A function of the library.
///
/// # Safety
/// It has the type `F`, which is a pointer to a function.
unsafe fn symbol<F: Copy>(library: *mut c_void, name: &CStr) -> F {
    // SAFETY: an open library and a text.
    let found = unsafe { libc::dlsym(library, name.as_ptr()) };
    assert!(!found.is_null() && size_of::<F>() == size_of::<usize>(), "{name:?}");
    // SAFETY: the caller's word.
    unsafe { core::mem::transmute_copy(&found) }
}

#[test]
fn each_copy_refuses_the_others_pointers() {
    let (theirs, arena) = (Library::open(), Arena::global().unwrap());
    let ours = CacheName::create(arena, "copies", 64, &CacheArgs::default()).unwrap();
    // SAFETY: the caches live to the end of the test; every object is freed once, by the copy that made it.
    unsafe {
        let cache = (theirs.create)(c"copies".as_ptr(), 64, 0, 0, None);
        assert!(!cache.is_null(), "the same name is free there: {}", theirs.said());
        let (their_object, our_object) = ((theirs.alloc)(cache, 0), ours.raw().alloc(AllocFlags::empty()).unwrap());
        let (their_memory, our_memory) = ((theirs.kmalloc)(100, 0), kmalloc(arena, 100, AllocFlags::empty()).unwrap());
        their_object.cast::<u8>().write_bytes(0xaa, 64);
        our_object.write_bytes(0x55, 64);

        let before = format!("{:?}", ours.raw().stats());
        for foreign in [their_object, their_memory] {
            let foreign = foreign.cast::<u8>();
            let is_foreign =
                |found: Result<(), Error>| assert!(matches!(found, Err(Error::BadPointer { .. })), "{found:?}");
            is_foreign(try_kfree(arena, foreign));
            is_foreign(kfree_checked(arena, foreign));
            is_foreign(ksize_checked(arena, foreign).map(|_| ()));
            is_foreign(ours.raw().check(foreign).map(|_| ()));
        }
        assert_eq!(before, format!("{:?}", ours.raw().stats()));

        for foreign in [our_object.as_ptr().cast(), our_memory.as_ptr().cast()] {
            (theirs.kfree)(foreign);
            assert!(theirs.said().contains("no object at 0x"), "{}", theirs.said());
            (theirs.free)(cache, foreign);
            assert!(theirs.said().contains("foreign"), "{}", theirs.said());
            assert_eq!((theirs.ksize)(foreign), 0);
            assert_eq!((theirs.check)(cache, foreign), -libc::EFAULT);
            assert_eq!((theirs.free_rcu)(cache, foreign), -libc::EFAULT);
        }
        // Nothing was changed: contents, sizes, and who hands out what.
        assert!((0..64).all(|at| *our_object.as_ptr().add(at) == 0x55 && *their_object.cast::<u8>().add(at) == 0xaa));
        assert_eq!((ksize(arena, our_memory.as_ptr()), (theirs.ksize)(their_memory)), (128, 128));
        for _ in 0..1000 {
            let (one, other) = ((theirs.alloc)(cache, 0), ours.raw().alloc(AllocFlags::empty()).unwrap());
            assert!(one != our_object.as_ptr().cast() && other.as_ptr() != their_object.cast());
            assert_eq!((theirs.check)(cache, one), 0);
            assert!(ours.raw().check(other.as_ptr()).is_ok());
            (theirs.free)(cache, one);
            ours.raw().free(other);
        }
        assert_eq!((theirs.destroy)(cache), -libc::EBUSY);
        (theirs.free)(cache, their_object);
        (theirs.kfree)(their_memory);
        ours.raw().free(our_object);
        kfree(arena, our_memory.as_ptr());
        assert_eq!((theirs.destroy)(cache), 0);
        ours.destroy().unwrap();
    }
}
