"""Failures on demand: memory that runs out when a test wants it to, after Linux's fault injection.

>>> import haybarn
>>> from haybarn import fault_inject
>>> with haybarn.KmemCache("tested", 64) as cache, fault_inject.fail_slab(cache, times=1) as fault:
...     try:
...         cache.alloc()
...     except haybarn.OutOfMemoryError:
...         print("refused", fault.fired)
...     cache.alloc().free()
refused 1

`fail_page_alloc` makes requests for memory fail, `fail_slab` allocations of objects. Both return a context manager:
the fault is on inside of the block, in all threads of the process unless `this_thread` narrows it, and over when the
block is left in any way. `fired` says how many requests it has made fail. Blocks may be nested and overlap; a request
fails if any of the faults says so. Numbers out of range raise BadArgumentError. For a whole process set
HAYBARN_FAIL_PAGE_ALLOC or HAYBARN_FAIL_SLAB to `interval,probability,space,times`, with the probability in percent and
-1 for no end of times.
"""

from __future__ import annotations

from haybarn._core import FaultInjection, active_faults, fail_page_alloc, fail_slab

__all__ = ["FaultInjection", "active_faults", "fail_page_alloc", "fail_slab"]
