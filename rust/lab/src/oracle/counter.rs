#![forbid(unsafe_code)]
//! The counters that a run reports, one row each.

macro_rules! counters {
    ($($variant:ident $name:literal $about:literal;)*) => {
        /// The counters that a run reports, by their names in its JSON.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Counter {
            $(#[doc = $about] $variant,)*
        }

        impl Counter {
            /// Every counter, in the order of the report.
            pub const ALL: [Self; [$(Self::$variant),*].len()] = [$(Self::$variant),*];

            /// The name in tables and JSON.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

counters! {
    Refill "refill" "Objects that went from slabs into sheaves.";
    Flush "flush" "Objects that went from sheaves back to slabs.";
    BarnGet "barn_get" "Full sheaves taken from a barn.";
    BarnPut "barn_put" "Full sheaves put into a barn.";
    NewSlab "new_slab" "Slabs made.";
    FreedSlab "freed_slab" "Slabs that a free gave back (those that shrink and destroy give back are not counted).";
    Drain "drain" "CPU slots drained.";
    DrainRetry "drain_retry" "Rounds of a drain after its first.";
    CasFail "cas_fail" "Swaps of a slab's or a stack's word that lost a race.";
    ReapedSlab "reaped_slab" "Dead slabs whose pages went later: after a grace period, or after destructors.";
    PrefillFast "prefill_fast" "Prefilled sheaves that were a CPU's spare.";
    PrefillSlow "prefill_slow" "Prefilled sheaves from a barn, or new ones.";
    PrefillOversize "prefill_oversize" "Prefilled sheaves of more objects than the cache's sheaves hold.";
    ReturnFast "return_fast" "Prefilled sheaves that came back as a CPU's spare.";
    ReturnSlow "return_slow" "Prefilled sheaves that came back to a barn or to the slabs.";
    Constructed "ctor_object" "Objects constructed.";
    Destructed "dtor_object" "Constructed objects that ended.";
    CtorFailed "ctor_fail" "Slabs given up because a constructor failed.";
    QueuedFree "free_queued" "Frees that waited for the end of a callback.";
    RcuSheaf "free_rcu_sheaf" "Objects that `free_rcu` put on a CPU's rcu sheaf.";
    RcuLoose "free_rcu_sheaf_fail" "Objects of `free_rcu` that went into loose batches.";
    RcuDone "free_rcu_done" "Objects of `free_rcu` whose grace period is over.";
    FirstUse "first_use" "Caches that a first use made (of storages with an owner, whose makers can tell).";
    Setup "setup" "Caches that a setup made.";
    SetupMet "setup_met" "Setups that found a cache there.";
    UseMet "use_met" "First uses that found no cache and then one of another thread.";
    StorageRead "storage_read" "Setups that were refused because attributes were being read.";
    NodeMismatch "alloc_node_mismatch" "Allocations that asked for another node than the CPU's, or found an object of another one.";
    SlowFree "free_slowpath" "Objects given straight to their slab.";
    Joined "joined" "Names that came to share others' slabs.";
    Left "left" "Names that ended while others had the same slabs.";
    PrimaryLeft "primary_left" "Of those, names of primaries.";
    StorageEnded "storage_ended" "Storages that ended with their last name.";
    ZeroSize "zero_size" "Requests for 0 bytes.";
    Large "large" "Requests that got runs of whole pages.";
    Huge "huge" "Requests beyond what runs of pages are for.";
    Stayed "krealloc_stayed" "Memory that got another size where it was.";
    Moved "krealloc_moved" "Memory that moved to get another size.";
    Elsewhere "freed_elsewhere" "Memory that another thread gave back than had taken it.";
    Interrupts "interrupts" "Times that a signal handler came in.";
    HandlerNone "handler_none" "Allocations in handlers that gave nothing.";
    InAllocSlow "in_alloc_slow" "Times that it came in inside the path `alloc_slow` of `haybarn::slow_paths`.";
    InFreeSlow "in_free_slow" "Times that it came in inside the path `free_slow` of `haybarn::slow_paths`.";
    InBarn "in_barn" "Times that it came in inside the path `barn` of `haybarn::slow_paths`.";
    InRefill "in_refill" "Times that it came in inside the path `refill` of `haybarn::slow_paths`.";
    InPartial "in_partial" "Times that it came in inside the path `partial` of `haybarn::slow_paths`.";
    InNewSlab "in_new_slab" "Times that it came in inside the path `new_slab` of `haybarn::slow_paths`.";
    InFlush "in_flush" "Times that it came in inside the path `flush` of `haybarn::slow_paths`.";
    InSlabFree "in_slab_free" "Times that it came in inside the path `slab_free` of `haybarn::slow_paths`.";
    InSlabGone "in_slab_gone" "Times that it came in inside the path `slab_gone` of `haybarn::slow_paths`.";
    InBulk "in_bulk" "Times that it came in inside the path `bulk` of `haybarn::slow_paths`.";
    InShrink "in_shrink" "Times that it came in inside the path `shrink` of `haybarn::slow_paths`.";
}

impl Counter {
    /// Those of interrupts inside slow paths, in the order of `haybarn::slow_paths`.
    pub const INSIDE: [Self; 11] = [
        Self::InAllocSlow,
        Self::InFreeSlow,
        Self::InBarn,
        Self::InRefill,
        Self::InPartial,
        Self::InNewSlab,
        Self::InFlush,
        Self::InSlabFree,
        Self::InSlabGone,
        Self::InBulk,
        Self::InShrink,
    ];
}

/// A value for each [`Counter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters([u64; Counter::ALL.len()]);

impl Default for Counters {
    fn default() -> Self {
        Self([0; Counter::ALL.len()])
    }
}

impl Counters {
    /// The values that `read` gives.
    #[must_use]
    pub fn read(read: impl Fn(Counter) -> u64) -> Self {
        Self(Counter::ALL.map(read))
    }

    /// One value.
    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }

    /// Adds another cache's values.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum += more;
        }
    }
}
