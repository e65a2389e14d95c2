//! Where the text of each slow path lies, so that whoever interrupts a thread can tell what it interrupted.
//!
//! The functions of a path lie in a section of its own, whose bounds the linker names. What they call and the compiler did not put
//! into them counts for nothing, so a count of interrupted addresses is a lower bound of how often a path was interrupted. On the
//! way to a hit there is none of them.

use core::ops::Range;

macro_rules! paths {
    ($($path:ident, $section:literal, $start:literal, $stop:literal;)*) => {
        mod bounds {
            $(pub mod $path {
                unsafe extern "C" {
                    #[link_name = $start]
                    pub static START: u8;
                    #[link_name = $stop]
                    pub static STOP: u8;
                }

                /// Keeps the section where the linker has no use for its functions, in a program that never allocates.
                #[unsafe(link_section = $section)]
                #[inline(never)]
                pub fn anchor() {}
            })*
        }

        /// The slow paths: name and addresses of each, none of them inside another.
        #[doc(hidden)]
        #[must_use]
        pub fn slow_paths() -> [(&'static str, Range<usize>); [$(stringify!($path)),*].len()] {
            $(core::hint::black_box(bounds::$path::anchor as fn());)*
            [$((stringify!($path), (&raw const bounds::$path::START).addr()..(&raw const bounds::$path::STOP).addr())),*]
        }
    };
}

paths! {
    alloc_slow, "haybarn_alloc_slow", "__start_haybarn_alloc_slow", "__stop_haybarn_alloc_slow";
    free_slow, "haybarn_free_slow", "__start_haybarn_free_slow", "__stop_haybarn_free_slow";
    barn, "haybarn_barn", "__start_haybarn_barn", "__stop_haybarn_barn";
    refill, "haybarn_refill", "__start_haybarn_refill", "__stop_haybarn_refill";
    partial, "haybarn_partial", "__start_haybarn_partial", "__stop_haybarn_partial";
    new_slab, "haybarn_new_slab", "__start_haybarn_new_slab", "__stop_haybarn_new_slab";
    flush, "haybarn_flush", "__start_haybarn_flush", "__stop_haybarn_flush";
    slab_free, "haybarn_slab_free", "__start_haybarn_slab_free", "__stop_haybarn_slab_free";
    slab_gone, "haybarn_slab_gone", "__start_haybarn_slab_gone", "__stop_haybarn_slab_gone";
    bulk, "haybarn_bulk", "__start_haybarn_bulk", "__stop_haybarn_bulk";
    shrink, "haybarn_shrink", "__start_haybarn_shrink", "__stop_haybarn_shrink";
}
