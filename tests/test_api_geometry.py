"""haybarn.geometry: Linux's numbers, pure."""

from __future__ import annotations

import pytest

import haybarn
from haybarn import Geometry, SlabFlags, geometry

# Order and objects for 2, 8, 16, 64 and 192 CPUs; min_partial; capacity. From the kernel's rules for 4 KiB pages.
VECTORS = {
    64: ("0/64 0/64 0/64 0/64 0/64", 5, 60),
    128: ("0/32 0/32 0/32 0/32 1/64", 5, 60),
    192: ("0/21 0/21 1/42 1/42 1/42", 5, 60),
    256: ("0/16 1/32 1/32 1/32 2/64", 5, 28),
    512: ("1/16 2/32 2/32 2/32 3/64", 5, 28),
    1024: ("2/16 3/32 3/32 3/32 3/32", 5, 12),
    2048: ("3/16 3/16 3/16 3/16 3/16", 5, 12),
    4096: ("3/8 3/8 3/8 3/8 3/8", 6, 4),
    20000: ("3/1 3/1 3/1 3/1 3/1", 7, 4),
    40000: ("4/1 4/1 4/1 4/1 4/1", 7, 4),
}


@pytest.mark.parametrize("size", VECTORS)
def test_vectors(size):
    shapes, min_partial, capacity = VECTORS[size]
    found = [geometry(size, cpus=cpus) for cpus in (2, 8, 16, 64, 192)]
    assert " ".join(f"{g.order}/{g.objs_per_slab}" for g in found) == shapes
    assert {g.min_partial for g in found} == {min_partial}
    assert {g.sheaf_capacity for g in found} == {capacity}


def test_every_flag_counts():
    red = geometry(64, flags=SlabFlags.RED_ZONE)
    assert (red.inuse, red.freeptr_offset, red.red_left_pad, red.slab_size) == (72, 32, 8, 88)
    assert red.sheaf_capacity == 0
    rcu = geometry(64, flags=SlabFlags.TYPESAFE_BY_RCU)
    assert (rcu.freeptr_offset, rcu.slab_size) == (64, 72)
    assert geometry(64, flags=SlabFlags.TYPESAFE_BY_RCU, freeptr_offset=8).slab_size == 64
    assert geometry(64, has_ctor=True).slab_size == 72
    assert geometry(100, flags=SlabFlags.HWCACHE_ALIGN).slab_size == 128
    assert geometry(33, flags=SlabFlags.HWCACHE_ALIGN).align == 64


def test_it_is_pure_and_frozen():
    before = haybarn.caches().keys()
    first, second = geometry(96, cpus=4), geometry(96, cpus=4)
    assert first == second
    assert hash(first) == hash(second)
    assert first != geometry(104, cpus=4)
    assert haybarn.caches().keys() == before
    with pytest.raises(AttributeError):
        first.order = 3
    with pytest.raises(TypeError):
        Geometry()
    assert repr(first).startswith("Geometry(object_size=96, slab_size=96, align=8, order=")
    assert first.flags == SlabFlags(0)


def test_min_order_and_capacity():
    assert geometry(64, cpus=2, min_order=3).order == 3
    assert geometry(64, sheaf_capacity=100).sheaf_capacity == 100
    assert geometry(64, sheaf_capacity=5).sheaf_capacity == 60


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"size": 0}, "size"),
        ({"size": 1 << 64}, "size"),
        ({"size": 64, "align": 5}, "align"),
        ({"size": 64, "cpus": 0}, "cpus"),
        ({"size": 64, "cpus": -1}, "cpus"),
        ({"size": 64, "cpus": 1 << 32}, "cpus"),
        ({"size": 64, "min_order": 10}, "min_order"),
        ({"size": 64, "flags": 1 << 40}, "flags"),
        ({"size": 64, "freeptr_offset": 8}, "freeptr_offset"),
        ({"size": 64, "freeptr_offset": 64, "has_ctor": True}, "freeptr_offset"),
        ({"size": 64, "freeptr_offset": 4, "has_ctor": True}, "freeptr_offset"),
    ],
)
def test_a_bad_argument_is_named(arguments, name):
    with pytest.raises(haybarn.BadArgumentError, match=f"{name} = .*legal: ."):
        geometry(arguments.pop("size"), **arguments)


def test_wrong_types():
    for arguments in (
        {"size": "64"},
        {"size": 64, "align": None},
        {"size": 64, "has_ctor": 1},
        {"size": 64, "cpus": "2"},
    ):
        with pytest.raises(TypeError):
            geometry(arguments.pop("size"), **arguments)
