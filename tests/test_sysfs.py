"""The tree of attributes: paths, formats, errors, dicts, open attributes; and the cost of polling all caches."""

from __future__ import annotations

import errno
import gc
import os
import re
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path, PurePosixPath

import pytest

import haybarn
from haybarn import KmemCache, SlabFlags, SysfsError, sysfs

OWN = SlabFlags.NO_MERGE


@pytest.fixture
def frame():
    cache = KmemCache("frame", 1500, flags=OWN)
    yield cache
    gc.collect()
    cache.destroy()


def test_the_tree_is_there_after_the_import():
    script = "import haybarn; print(haybarn.sysfs.listdir('/'), haybarn.sysfs.listdir(), haybarn.sysfs.as_dict())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("[] [] {}\n", "")


def test_names_are_folders(frame):
    assert "frame" in sysfs.listdir("/")
    names = sysfs.listdir("/frame")
    assert names == sorted(names)
    assert {"order", "objects", "primary", "alloc_fastpath", "shrink"} <= set(names)
    assert sysfs.listdir(PurePosixPath("/frame")) == names
    assert sysfs.readlink("/frame/primary") == "../frame"
    assert sysfs.listdir("/frame/primary/../frame") == names
    assert sysfs.read("/frame/object_size") == "1500\n"
    assert sysfs.read(b"/frame/order".decode()) == f"{frame.order}\n"


def test_every_attribute_is_a_line_or_empty(frame):
    batch = frame.alloc_bulk(100)
    for name in sysfs.listdir("/frame"):
        if name != "primary":
            text = sysfs.read(f"/frame/{name}")
            assert re.fullmatch(r"(\d+( [CN]\d+=\d+)*|0\(0\))\n|", text), (name, text)
    assert sysfs.read("/frame/objects").split()[0] == str(sysfs.as_dict("/frame")["objects"]["total"])
    frame.free_bulk(batch)


@pytest.mark.skipif(
    not os.access("/sys/kernel/slab/dentry/order", os.R_OK), reason="needs root, and a kernel with SLUB"
)
def test_the_attributes_of_the_running_kernel_are_there(frame):
    ours = set(sysfs.listdir("/frame"))
    # docs/sysfs.md says why these have no place here.
    missing = {file.name for file in Path("/sys/kernel/slab/dentry").iterdir()} - ours - {"skip_kfence"}
    statistics = {
        name for name in missing if re.search("cpu_slab|cpu_partial|deactivate|frozen|alloc_refill|from_partial", name)
    }
    assert missing == statistics


@pytest.mark.parametrize(
    ("does", "to", "number"),
    [
        ("read", ("/nobody/order",), errno.ENOENT),
        ("read", ("/frame/nothing",), errno.ENOENT),
        ("read", ("/\ud800",), errno.ENOENT),
        ("read", ("/frame",), errno.EISDIR),
        ("read", ("/",), errno.EISDIR),
        (
            "write",
            (
                "/frame",
                "1",
            ),
            errno.EISDIR,
        ),
        ("read", ("/frame/order/x",), errno.ENOTDIR),
        ("read", ("/frame/order/",), errno.ENOTDIR),
        ("listdir", ("/frame/order",), errno.ENOTDIR),
        ("as_dict", ("/frame/order",), errno.ENOTDIR),
        ("readlink", ("/frame/order",), errno.EINVAL),
        ("readlink", ("/frame",), errno.EINVAL),
        ("read", ("frame/order",), errno.EINVAL),
        (
            "write",
            (
                "/frame/order",
                "1",
            ),
            errno.EACCES,
        ),
        (
            "write",
            (
                "/frame/min_partial",
                "many",
            ),
            errno.EINVAL,
        ),
        (
            "write",
            (
                "/frame/min_partial",
                str(1 << 64),
            ),
            errno.ERANGE,
        ),
        (
            "write",
            (
                "/frame/shrink",
                "0",
            ),
            errno.EINVAL,
        ),
        (
            "write",
            (
                "/frame/alloc_slab",
                "1",
            ),
            errno.EINVAL,
        ),
        ("open", ("/frame",), errno.EISDIR),
        ("open", ("/frame/nothing",), errno.ENOENT),
    ],
    ids=repr,
)
@pytest.mark.usefixtures("frame")
def test_errors_are_those_of_files(does, to, number):
    with pytest.raises(SysfsError) as raised:
        getattr(sysfs, does)(*to)
    error = raised.value
    assert isinstance(error, haybarn.HaybarnError)
    assert isinstance(error, OSError)
    assert error.errno == number
    assert os.strerror(number) in error.strerror
    assert error.filename is not None
    assert os.strerror(number) in str(error)


@pytest.mark.usefixtures("frame")
def test_arguments_of_wrong_types():
    for call in (
        lambda: sysfs.read(3),
        lambda: sysfs.read(b"/frame/order"),
        lambda: sysfs.write("/frame/min_partial", 5),
        lambda: sysfs.write("/frame/min_partial", b"5"),
        lambda: sysfs.listdir(None),
    ):
        with pytest.raises(TypeError):
            call()


def test_what_is_written_is_what_the_cache_goes_by(frame):
    before = frame.min_partial
    assert sysfs.write("/frame/min_partial", "12\n") == 3
    assert (frame.min_partial, sysfs.read("/frame/min_partial")) == (12, "12\n")
    assert sysfs.write("/frame/min_partial", "") == 0
    assert sysfs.write("/frame/min_partial", str(before)) == len(str(before))
    batch = frame.alloc_bulk(100)
    frame.free_bulk(batch)
    assert sysfs.as_dict("/frame")["total_objects"]["total"] > 0
    assert sysfs.write("/frame/shrink", "1") == 1
    assert sysfs.read("/frame/total_objects") == "0\n"
    assert sysfs.write("/frame/validate", "1") == 1


@pytest.mark.parametrize("path", ["/frame/..", "/frame/primary/..", "//", "/./", "/.."])
def test_every_way_to_the_root_shows_all_caches(frame, path):
    assert sysfs.as_dict(path).keys() == set(sysfs.listdir("/"))


def test_counters_agree_with_stats_and_can_be_cleared(frame):
    batch = frame.alloc_bulk(100) + [frame.alloc() for _ in range(10)]
    stats = frame.stats()
    shown = sysfs.as_dict("/frame")
    assert {name: shown[name]["total"] for name in stats if name in shown and isinstance(shown[name], dict)} == {
        name: value for name, value in stats.items() if name in shown
    } | {"objects": stats["objects"] + stats["in_sheaves"]}
    for cpus in (shown["alloc_slab"]["cpus"], shown["sheaf_refill"]["cpus"]):
        assert all(0 <= cpu < haybarn.info()["cpus"] for cpu in cpus)
    assert sum(shown["alloc_slab"]["cpus"].values()) == stats["alloc_slab"]
    for name in ("alloc_fastpath", "alloc_slab"):
        assert sysfs.write(f"/frame/{name}", "0") == 1
        assert sysfs.read(f"/frame/{name}") == "0\n"
    frame.alloc().free()
    assert sysfs.as_dict("/frame")["alloc_fastpath"]["total"] <= 1
    assert frame.stats()["alloc_slab"] == stats["alloc_slab"]
    assert frame.stats()["objects"] == 110
    frame.free_bulk(batch)


def test_ctor_is_the_constructors_name():
    class Maker:
        def __call__(self, obj):
            pass

    for ctor, text in ((len, "builtins.len\n"), (Maker(), f"{__name__}.{Maker.__qualname__}\n"), (None, "")):
        cache = KmemCache("ctor-name", 64, ctor=ctor, dtor=lambda obj: None)
        assert sysfs.read("/ctor-name/ctor") == text
        assert sysfs.write("/ctor-name/shrink", "1") == 1
        cache.destroy()


def test_a_callback_may_look_but_not_shrink():
    seen = []

    def ctor(_):
        seen.append(sysfs.read("/looks/order"))
        with pytest.raises(haybarn.ReentryError):
            sysfs.write("/looks/shrink", "1")

    with KmemCache("looks", 64, ctor=ctor) as cache:
        cache.alloc().free()
    assert seen


def test_names_with_odd_characters():
    for name in ("a:b", "%s", "grüße-缓存", "primary", "...", "N0=1"):
        with KmemCache(name, 64, flags=OWN):
            assert name in sysfs.listdir("/")
            assert sysfs.read(f"/{name}/object_size") == "64\n"
            assert sysfs.as_dict("/")[name] == sysfs.as_dict(f"/{name}")
    for name in (".", ".."):
        with pytest.raises(haybarn.BadArgumentError, match="not '.' or '..'"):
            KmemCache(name, 64)


def test_an_open_attribute_is_of_one_cache_for_good():
    cache = KmemCache("opened", 64, flags=OWN)
    with sysfs.open("/opened/object_size") as size:
        assert (size.read(), size.value(), size.path) == ("64\n", 64, "/opened/object_size")
        assert (size.closed, size.writable()) == (False, False)
        cache.destroy()
        again = KmemCache("opened", 128, flags=OWN)
        for use in (size.read, size.value):
            with pytest.raises(SysfsError) as raised:
                use()
            assert raised.value.errno == errno.ENODEV
        assert sysfs.read("/opened/object_size") == "128\n"
        again.destroy()
    assert size.closed
    size.close()
    for use in (size.read, size.value, size.writable, lambda: size.write("1"), size.__enter__, lambda: size.path):
        with pytest.raises(SysfsError) as raised:
            use()
        assert raised.value.errno == errno.EBADF
    assert "closed" in repr(size)


def test_an_open_attribute_does_not_keep_a_cache_from_ending(frame):
    objects = sysfs.open("/frame/objects")
    batch = frame.alloc_bulk(3)
    assert objects.value()["total"] >= 3
    frame.free_bulk(batch)
    with KmemCache("ends", 64, flags=OWN):
        kept = sysfs.open("/ends/order")
    assert "ends" not in sysfs.listdir("/")
    del kept


def test_readers_while_caches_come_and_go():
    """What a name says of its size is what its attributes say, whenever they are read, or it is not there."""
    stop = threading.Event()
    wrong: list[object] = []
    read = [0]

    def look():
        while not stop.is_set():
            for name in sysfs.listdir("/"):
                if not name.startswith("come-"):
                    continue
                try:
                    with sysfs.open(f"/{name}/object_size") as opened:
                        text = opened.read()
                    shown = sysfs.as_dict(f"/{name}")
                except SysfsError as error:
                    if error.errno not in (errno.ENOENT, errno.ENODEV, errno.EBUSY):
                        wrong.append(error)
                    continue
                size = int(name.rsplit("-", 1)[1])
                if (text, shown["object_size"]) != (f"{size}\n", size):
                    wrong.append((name, text, shown["object_size"]))
                read[0] += 1

    readers = [threading.Thread(target=look) for _ in range(3)]
    for reader in readers:
        reader.start()
    caches: deque[KmemCache] = deque()
    rounds = 0
    while rounds < 300 or (read[0] < 200 and rounds < 30_000):
        size = 64 + 8 * (rounds % 40)
        cache = KmemCache(f"come-{rounds}-{size}", size, flags=OWN if rounds % 2 else 0)
        cache.free_bulk(cache.alloc_bulk(20))
        # Some stay for a while, so that readers find them whole, and the oldest goes while they read.
        caches.append(cache)
        if len(caches) > 6:
            caches.popleft().destroy()
        rounds += 1
        if rounds % 8 == 0:
            # The readers' turn.
            time.sleep(0.001)
    stop.set()
    for reader in readers:
        reader.join()
    for cache in caches:
        cache.destroy()
    assert not wrong
    assert read[0] >= 200


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_has_the_tree_of_its_own_caches(frame):
    stop = threading.Event()

    def poll():
        while not stop.is_set():
            sysfs.as_dict("/")

    poller = threading.Thread(target=poll)
    poller.start()
    codes = []
    for _ in range(20):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                child = KmemCache("of-the-child", 64, flags=OWN)
                if sysfs.read("/of-the-child/object_size") == "64\n" and "frame" in sysfs.as_dict("/"):
                    child.destroy()
                    code = 0
            finally:
                os._exit(code)
        codes.append(os.waitpid(pid, 0)[1])
    stop.set()
    poller.join()
    assert codes == [0] * 20
    assert "of-the-child" not in sysfs.listdir("/")
    assert frame.name == "frame"


def test_polling_all_caches_makes_little():
    """Counted, not timed: blocks of memory that one poll of many caches leaves, and strings that it makes."""
    caches = [KmemCache(f"polled-{n}", 64, flags=OWN) for n in range(100)]
    haybarn.stats()
    gc.disable()
    before = sys.getallocatedblocks()
    polled = haybarn.stats()
    blocks = sys.getallocatedblocks() - before
    gc.enable()
    # A dict is two or three blocks; small numbers are none. The caches of others in this process may have large ones.
    large = sum(value > 256 for row in polled.values() for value in row.values() if isinstance(value, int))
    assert blocks <= 4 * len(polled) + large
    first, *others = (polled[cache.name] for cache in caches)
    keys = [id(key) for key in first]
    assert all([id(key) for key in other] == keys for other in others), "keys are made once"
    assert all(isinstance(key, str) and sys.intern(key) is key for key in first)
    for cache in caches:
        cache.destroy()


def test_the_page_lists_every_attribute():
    page = (Path(__file__).parent.parent / "docs" / "sysfs.md").read_text()
    with KmemCache("listed", 64, flags=OWN):
        for name in sysfs.listdir("/listed"):
            assert f"`{name}`" in page, name
