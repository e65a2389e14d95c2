#![forbid(unsafe_code)]
//! The counters of a cache, one row each, under the names that the kernel shows below `/sys/kernel/slab`.

macro_rules! stats {
    ($($variant:ident, $name:literal, $help:literal;)*) => {
        /// A counter of a cache. Kept per CPU, added up on reading.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Stat {
            $(#[doc = $help] $variant,)*
        }

        impl Stat {
            /// Every counter.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The kernel's name of the counter.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What bumps it, in one sentence.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)* }
            }
        }
    };
}

stats! {
    AllocFastpath, "alloc_fastpath", "Objects taken from a main sheaf.";
    AllocSlowpath, "alloc_slowpath", "Objects taken straight from a slab by an allocation.";
    FreeFastpath, "free_fastpath", "Objects put in a main sheaf.";
    FreeSlowpath, "free_slowpath", "Objects given straight to their slab by a free.";
    FreeAddPartial, "free_add_partial", "Slabs that a free or a refill's rest put on the partial list.";
    FreeRemovePartial, "free_remove_partial", "Listed slabs that a free emptied and that went.";
    FreeRcuSheaf, "free_rcu_sheaf", "Objects that free_rcu put in a CPU's rcu sheaf, counted when the sheaf leaves the CPU.";
    FreeRcuSheafFail, "free_rcu_sheaf_fail", "Objects that free_rcu batched in loose sheaves, or freed after waiting for readers.";
    FreeRcuDone, "free_rcu_done", "Objects of free_rcu whose grace period is over: in sheaves or slabs again.";
    AllocSlab, "alloc_slab", "New slabs.";
    FreeSlab, "free_slab", "Slabs that a free gave back to the pages.";
    ShrinkSlab, "shrink_slab", "Slabs that a shrink or the cache's end gave back to the pages.";
    ReapSlab, "reap_slab", "Dead slabs whose pages went later: after a grace period, or after destructors.";
    AllocNodeMismatch, "alloc_node_mismatch", "Allocations that asked for another node than the CPU's.";
    OrderFallback, "order_fallback", "Slabs of the smaller order, for want of pages.";
    CmpxchgDoubleFail, "cmpxchg_double_fail", "Swaps of a slab's word that another thread's swap made fail.";
    SheafFlush, "sheaf_flush", "Objects flushed out of sheaves to their slabs.";
    SheafRefill, "sheaf_refill", "Objects put into sheaves from slabs.";
    SheafAlloc, "sheaf_alloc", "Sheaves made.";
    SheafFree, "sheaf_free", "Sheaves given back.";
    BarnGet, "barn_get", "Full sheaves got from a barn.";
    BarnGetFail, "barn_get_fail", "Times that a barn had no full sheaf.";
    BarnPut, "barn_put", "Full sheaves put in a barn.";
    BarnPutFail, "barn_put_fail", "Times that a barn had enough full sheaves.";
    Drain, "drain", "Slots of CPUs that were drained.";
    DrainRetry, "drain_retry", "Rounds of a drain after its first.";
    CtorObject, "ctor_object", "Objects constructed, those of slabs that were then given up included.";
    CtorFail, "ctor_fail", "Slabs given up because a constructor failed.";
    DtorObject, "dtor_object", "Constructed objects that ended, by their destructor where the cache has one.";
    DtorPanic, "dtor_panic", "Destructors that panicked.";
    FreeQueued, "free_queued", "Frees inside a constructor or destructor that waited for its end.";
    ReentryRefused, "reentry_refused", "Allocations refused because they could lead back into a callback.";
    AllocPrefilled, "alloc_prefilled", "Objects taken from prefilled sheaves.";
    SheafPrefillFast, "sheaf_prefill_fast", "Prefilled sheaves that were the CPU's spare.";
    SheafPrefillSlow, "sheaf_prefill_slow", "Prefilled sheaves from the barn, or new ones.";
    SheafPrefillOversize, "sheaf_prefill_oversize", "Prefilled sheaves of more objects than the cache's sheaves hold.";
    SheafPrefillObjects, "sheaf_prefill_objects", "Objects set aside in prefilled sheaves.";
    SheafReturnFast, "sheaf_return_fast", "Prefilled sheaves that came back and became the CPU's spare.";
    SheafReturnSlow, "sheaf_return_slow", "Prefilled sheaves that came back and went to the barn or to the slabs.";
    SheafReturnOversize, "sheaf_return_oversize", "Prefilled sheaves of more objects than the cache's hold that came back.";
    SheafReturnObjects, "sheaf_return_objects", "Objects that came back in prefilled sheaves.";
    Accounted, "accounted", "Allocations with the ACCOUNT option.";
}
