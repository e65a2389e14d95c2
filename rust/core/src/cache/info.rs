//! What an arena says of itself, and its whole pages for who needs more than objects.

use super::arena::Arena;
use crate::error::Error;
use crate::os;
use crate::pages::{NodeId, Order, PAGE_SIZE};
use crate::percpu::BackendKind;
use crate::sync::Form;
use core::ptr::NonNull;

/// An arena's choices and size, for `haybarn info` and bug reports.
#[derive(Clone, Debug)]
pub struct Info {
    /// The CPU backend in use.
    pub backend: BackendKind,
    /// Why this one: whose rseq area, or what the system refused.
    pub backend_why: String,
    /// Form of the doublewords.
    pub form: Form,
    /// CPUs that caches have sheaves for.
    pub cpus: u32,
    /// CPUs that may ever be there.
    pub possible_cpus: u32,
    /// CPUs that are there.
    pub present_cpus: u32,
    /// Nodes.
    pub nodes: u32,
    /// Whose nodes they are: the machine's, or fake ones and by whose wish.
    pub nodes_why: String,
    /// Where pages come from.
    pub source: &'static str,
    /// Bytes of address range reserved.
    pub reserved: usize,
    /// Bytes of pages in use by slabs, runs and spans.
    pub used: usize,
    /// Bytes of free pages that the system has not got back.
    pub dirty_free: usize,
    /// Bytes of metadata.
    pub metadata: usize,
    /// Least order of slabs.
    pub min_order: u8,
}

impl Arena {
    /// The arena's choices and how much it holds.
    #[must_use]
    pub fn info(&self) -> Info {
        let counts = self.pages.counts();
        let bytes = |pages: u64| pages as usize * PAGE_SIZE;
        Info {
            backend: self.kind,
            backend_why: self.why.clone(),
            form: self.form,
            cpus: self.cpus,
            possible_cpus: os::possible_cpus(),
            present_cpus: os::present_cpus(),
            nodes: self.nodes,
            nodes_why: match self.pages.unbound_chunks() {
                0 => self.nodes_why.clone(),
                chunks => format!("{}; refused for {chunks} chunks of 2 MiB", self.nodes_why),
            },
            source: self.pages.source_name(),
            reserved: self.pages.range().1,
            used: bytes(counts.run_pages + counts.span_pages),
            dirty_free: bytes(counts.dirty_free_pages),
            metadata: counts.meta_bytes as usize,
            min_order: self.min_order,
        }
    }

    /// First address and bytes of the range that all of the arena's memory lies in: what is outside is not its own.
    #[must_use]
    pub fn range(&self) -> (usize, usize) {
        self.pages.range()
    }

    /// Takes a run of whole pages for `bytes` (more than 0), rounded up to a power of two of them, or to whole chunks above
    /// 2 MiB; `None` when memory is out. Page-aligned, contents as the last user left them.
    #[must_use]
    pub fn alloc_pages(&'static self, bytes: usize) -> Option<NonNull<u8>> {
        use crate::pages::{MapWord, PageKind};
        let pages = bytes.div_ceil(PAGE_SIZE).max(1).checked_next_power_of_two()?;
        let order = Order(pages.ilog2() as u8);
        let (page, kind) = if order <= Order::MAX {
            let cpu = self.current_cpu();
            (self.pages.alloc_run(order, self.node_of(cpu as i32), cpu)?, PageKind::Run)
        } else {
            (self.pages.alloc_span(bytes)?, PageKind::Span)
        };
        // The first page's word is enough: pages are given back by their first address only.
        self.pages.set_map(page, 1, MapWord::new(kind, Order(order.0.min(31)), NodeId(0), 0, 0));
        NonNull::new(self.pages.address(page))
    }

    /// Gives a run of pages back.
    ///
    /// # Errors
    /// [`Error::BadPointer`] when no run of [`Arena::alloc_pages`] starts at the address; nothing has changed then.
    ///
    /// # Safety
    /// Nobody uses the pages any more.
    pub unsafe fn free_pages(&'static self, run: NonNull<u8>) -> Result<(), Error> {
        use crate::pages::PageKind;
        let address = run.as_ptr().addr();
        let bad = |why| Error::BadPointer { cache: String::new(), address, why };
        let page = self.pages.page_of(address).ok_or_else(|| bad("the address is foreign: outside of the arena"))?;
        let word = self.pages.map(page);
        let is_run = matches!(word.kind(), PageKind::Run | PageKind::Span) && word.cache() == 0;
        if !address.is_multiple_of(PAGE_SIZE) || !is_run {
            return Err(bad("no run of pages starts there"));
        }
        self.pages.clear_map(page, 1);
        let given = match word.kind() {
            PageKind::Run => self.pages.free_run(page, word.order()),
            _ => self.pages.free_span(page),
        };
        given.map_err(|_| bad("the pages were given back twice"))
    }

    /// The node of the CPU that the caller is on.
    pub(crate) fn home(&self) -> NodeId {
        self.node_of(self.current_cpu() as i32)
    }

    /// The node that the slab at an address was taken for, if there is one.
    pub(crate) fn node_of_slab(&self, address: usize) -> Option<NodeId> {
        let word = self.pages.map(self.pages.page_of(address)?);
        (word.kind() == crate::pages::PageKind::Slab).then(|| word.node())
    }

    pub(super) fn current_cpu(&self) -> u32 {
        match self.kind {
            BackendKind::Virtual => crate::percpu::virtual_cpu() % self.cpus,
            _ => os::current_cpu(),
        }
    }
}
