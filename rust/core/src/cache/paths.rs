//! Where the text of each slow path lies, so that whoever interrupts a thread can tell what it interrupted.
//!
//! The functions of a path lie in a section of its own, whose bounds the linker names. What they call and the compiler did not put
//! into them counts for nothing, so a count of interrupted addresses is a lower bound of how often a path was interrupted. On the
//! way to a hit there is none of them.

use core::ops::Range;

macro_rules! paths {
    ($($path:ident, $start:literal, $stop:literal;)*) => {
        mod bounds {
            $(pub mod $path {
                unsafe extern "C" {
                    #[link_name = $start]
                    pub static START: u8;
                    #[link_name = $stop]
                    pub static STOP: u8;
                }
            })*
        }

        /// The slow paths: name and addresses of each, none of them inside another.
        #[doc(hidden)]
        #[must_use]
        pub fn slow_paths() -> [(&'static str, Range<usize>); [$(stringify!($path)),*].len()] {
            [$((stringify!($path), (&raw const bounds::$path::START).addr()..(&raw const bounds::$path::STOP).addr())),*]
        }
    };
}

paths! {
    alloc_slow, "__start_haybarn_alloc_slow", "__stop_haybarn_alloc_slow";
    free_slow, "__start_haybarn_free_slow", "__stop_haybarn_free_slow";
    barn, "__start_haybarn_barn", "__stop_haybarn_barn";
    refill, "__start_haybarn_refill", "__stop_haybarn_refill";
    partial, "__start_haybarn_partial", "__stop_haybarn_partial";
    new_slab, "__start_haybarn_new_slab", "__stop_haybarn_new_slab";
    flush, "__start_haybarn_flush", "__stop_haybarn_flush";
    slab_free, "__start_haybarn_slab_free", "__stop_haybarn_slab_free";
    slab_gone, "__start_haybarn_slab_gone", "__stop_haybarn_slab_gone";
    bulk, "__start_haybarn_bulk", "__stop_haybarn_bulk";
    shrink, "__start_haybarn_shrink", "__stop_haybarn_shrink";
}
