"""Read-copy-update: readers that never wait, and whoever takes something away from them waits until they are done.

>>> from haybarn import KmemCache, rcu
>>> cache = KmemCache("route", 64)
>>> routes = {"home": cache.alloc(zero=True)}
>>> with rcu.read_lock():  # a reader: what it looks up stays what it is until it leaves
...     hops = routes["home"].nbytes
>>> routes.pop("home").free_rcu()  # a writer: out of sight first, reused after the readers have left
>>> rcu.barrier()
>>> cache.destroy()

A **read section** (`read_lock`) costs no atomic instruction and never waits. A **grace period** is any time in which
every thread was outside of read sections at least once: after it, nobody can still be looking at what was made
unreachable before. `synchronize` waits for one; `get_state`, `poll_state` and `cond_synchronize` do the same in two
halves, with a cookie in between; `call` runs a function after one, on the service thread; `barrier` waits for such
functions and for `free_rcu`.

Waiting lets other threads run and ends with what a signal's handler raises (Ctrl-C). In a read section of the same
thread it raises `haybarn.ReadSectionError`, since it would never end. Everything may be called from any thread. Names
and meaning are the Linux kernel's (Documentation/RCU).
"""

from __future__ import annotations

from haybarn._core import Cookie, ReadSection
from haybarn._core import _rcu_barrier as barrier
from haybarn._core import _rcu_call as call
from haybarn._core import _rcu_cond_synchronize as cond_synchronize
from haybarn._core import _rcu_get_state as get_state
from haybarn._core import _rcu_poll_state as poll_state
from haybarn._core import _rcu_read_lock as read_lock
from haybarn._core import _rcu_stats as stats
from haybarn._core import _rcu_synchronize as synchronize

__all__ = [
    "Cookie",
    "ReadSection",
    "barrier",
    "call",
    "cond_synchronize",
    "get_state",
    "poll_state",
    "read_lock",
    "stats",
    "synchronize",
]
