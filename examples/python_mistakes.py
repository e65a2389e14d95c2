"""Every mistake with an object is an exception, and the program goes on.

Run: python examples/python_mistakes.py
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import haybarn
from haybarn import KmemCache

if TYPE_CHECKING:
    from collections.abc import Callable


def show(what: str, call: Callable[[], object]) -> None:
    """Makes the mistake and prints what it is called."""
    try:
        call()
    except haybarn.HaybarnError as error:
        print(f"{what}:\n    {type(error).__name__}: {error}")
    else:
        raise AssertionError(what)


def main() -> None:
    """One mistake of each kind."""
    cache, other = KmemCache("mine", 64), KmemCache("theirs", 64)
    freed = cache.alloc()
    freed.free()
    show("freed twice", freed.free)
    show("used after its free", lambda: memoryview(freed))
    obj = cache.alloc()
    show("freed in the wrong cache", lambda: other.free(obj))
    view = memoryview(obj)
    show("freed under a memoryview", obj.free)
    view.release()
    show("a list with a duplicate", lambda: cache.free_bulk([obj, obj]))
    show("a cache with live objects destroyed", cache.destroy)
    show("a name that is taken", lambda: KmemCache("mine", 64))
    show("an alignment of 3", lambda: KmemCache("new", 64, align=3))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with cache:
            pass
    print(f"left with a live object:\n    {caught[0].category.__name__}: {caught[0].message}")
    show("a closed cache", cache.alloc)
    obj.free()  # the last one: now the cache is gone
    show("a destroyed cache", cache.stats)
    other.destroy()


if __name__ == "__main__":
    main()
