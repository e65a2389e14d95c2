"""A plugin whose caches lie in storage that was there before: set up, pinned while anybody looks, set up again.

Run: python examples/python_preallocated.py
"""

from __future__ import annotations

import types
import weakref

import haybarn
from haybarn import CacheStorage, KmemCache

# Made before any cache is: whoever gets at the plugin's caches can know them by their storage.
FRAMES = CacheStorage()
HEADERS = CacheStorage()


def load(version: int) -> types.ModuleType:
    """A module with two caches, which keep it as long as they are there."""
    plugin = types.ModuleType(f"plugin_{version}")
    plugin.frames = KmemCache("plugin-frames", 1500, storage=FRAMES, owner=plugin)
    plugin.headers = KmemCache("plugin-headers", 64, storage=HEADERS, owner=plugin)
    return plugin


def unload(plugin: types.ModuleType) -> None:
    """Ends the plugin's caches; what refers to the module then is the program's alone."""
    for cache in (plugin.frames, plugin.headers):
        cache.destroy()


def main() -> None:
    """Loads a plugin twice, and is refused where that would go wrong."""
    plugin = load(1)
    print(
        f"{FRAMES}, {HEADERS}: headers share the slabs of {plugin.headers.primary}, a name that no plugin takes along"
    )
    with plugin.frames.alloc(zero=True) as frame:
        memoryview(frame)[:5] = b"hello"
    try:
        load(2)
    except haybarn.AlreadySetUpError as error:
        print(f"a second plugin is refused: {error}")
    gone = weakref.ref(plugin)
    unload(plugin)
    del plugin
    print(f"unloaded: the module is {'there' if gone() else 'gone'}, {FRAMES}")
    again = load(2)
    print(f"loaded again: {again.frames.owner.__name__} owns {FRAMES.cache_name} at the same address")
    unload(again)


if __name__ == "__main__":
    main()
