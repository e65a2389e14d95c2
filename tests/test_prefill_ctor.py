"""Prefilled sheaves of caches with constructors: errors, payloads, callbacks that come back."""

from __future__ import annotations

import os

import pytest

import haybarn
from haybarn import KmemCache


def test_objects_set_aside_are_constructed_and_have_their_payloads():
    cache = KmemCache("made", 64, ctor=lambda _obj: ["made"])
    with cache.prefill(20) as sheaf:
        taken = [sheaf.alloc() for _ in range(20)]
        assert all(obj.payload == ["made"] for obj in taken)
        assert len({id(obj.payload) for obj in taken}) == 20
        with pytest.raises(haybarn.BadArgumentError, match="zero = True is not legal"):
            sheaf.alloc(zero=True)
        taken += [sheaf.alloc() for _ in range(len(sheaf))]
    del taken
    cache.destroy()


def test_a_constructor_that_fails_ends_prefill_and_refill_with_its_exception():
    broken = [False]

    def ctor(_obj: object) -> None:
        if broken[0]:
            raise ValueError("not today")

    cache = KmemCache("fails", 64, ctor=ctor)
    with cache.prefill(10) as sheaf:
        before, counters = len(sheaf), cache.stats()
        broken[0] = True
        for call in (lambda: cache.prefill(5000), lambda: sheaf.refill(5000)):
            with pytest.raises(ValueError, match="not today"):
                call()
        assert len(sheaf) == before
        after = cache.stats()
        for name in ("slabs", "objects", "prefilled", "in_prefilled", "sheaf_prefill_oversize"):
            assert after[name] == counters[name], name
        # What is set aside needs no constructor.
        sheaf.alloc().free()
    cache.destroy()


def test_a_callback_that_comes_back_to_the_sheaf_is_refused():
    seen: list[BaseException] = []
    sheaves: list[haybarn.PrefilledSheaf] = []

    def ctor(_obj: object) -> None:
        for sheaf in sheaves:
            for use in (sheaf.alloc, lambda sheaf=sheaf: sheaf.refill(1), lambda sheaf=sheaf: len(sheaf)):
                try:
                    use()
                except haybarn.HaybarnError as error:
                    seen.append(error)

    cache = KmemCache("comes-back", 64, ctor=ctor)
    sheaves.append(cache.prefill(5))
    sheaves[0].refill(500)
    assert seen
    assert {type(error) for error in seen} == {haybarn.ReentryError}
    assert len(sheaves[0]) >= 500
    sheaves.pop().give_back()
    cache.destroy()


def test_a_sheaf_dropped_inside_a_constructor_goes_back_afterwards():
    other = KmemCache("other", 64)
    kept = [other.prefill(100), other.prefill(3)]

    def ctor(_obj: object) -> None:
        if kept:
            kept.pop()

    cache = KmemCache("drops", 64, ctor=ctor)
    with cache.prefill(3):
        assert not kept
    assert other.stats()["prefilled"] == 0
    other.destroy()
    cache.destroy()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_sheaf_that_the_fork_found_in_use_is_lost_to_the_child():
    """The child of a fork inside a refill: its parent's thread stands for one that is not there any more."""
    codes: list[int] = []
    sheaves: list[haybarn.PrefilledSheaf] = []

    def ctor(_obj: object) -> None:
        if not sheaves or codes:
            return
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                sheaves[0].alloc()
            except haybarn.UseAfterFreeError as error:
                code = 0 if "when this process was forked" in str(error) else 2
            finally:
                os._exit(code)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    cache = KmemCache("forks", 64, ctor=ctor)
    sheaves.append(cache.prefill(5))
    sheaves[0].refill(500)
    assert codes == [0]
    assert len(sheaves.pop()) >= 500
    cache.destroy()
