"""What several tests share."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest

from haybarn import rcu

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> None:
    """Ctrl-C as in a terminal. What a shell does not wait for, it starts with SIGINT ignored; that is inherited."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def tool() -> Callable[[str], str]:
    """Path of a program of the host. Without it a test skips; in CI, where tools/host_tools.py ran before, it fails."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            text = f"needs the program {name}; tools/host_tools.py installs it as root"
            pytest.fail(text) if os.environ.get("CI") == "true" else pytest.skip(text)
        return path

    return find


@pytest.fixture
def haybarn_cli() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `haybarn ARGUMENTS` in a process of its own, with extra environment variables by keyword."""

    def run(*arguments: str, timeout: float = 100, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "haybarn", *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            env=os.environ | env,
            check=False,
        )

    return run


@pytest.fixture
def in_threads() -> Callable[..., None]:
    """Runs body(index) in threads that start together; raises what the first of them raised."""

    def run(body: Callable[[int], object], count: int = 8) -> None:
        failed: list[BaseException] = []
        start = threading.Barrier(count)

        def guarded(index: int) -> None:
            try:
                start.wait()
                body(index)
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=guarded, args=(index,)) for index in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]

    return run


@pytest.fixture
def payload() -> Iterator[type]:
    """A class whose instances can be referred to weakly and are counted in `living()`; none may be left at the end."""
    made: list[None] = []
    gone: list[None] = []

    class Payload:
        def __init__(self, *kept: object) -> None:
            made.append(None)
            self.kept = kept

        def __del__(self) -> None:
            gone.append(None)

        @staticmethod
        def living() -> int:
            return len(made) - len(gone)

    yield Payload
    gc.collect()
    assert Payload.living() == 0


class Reader:
    """A thread that stays inside a read section of RCU until it is told to leave."""

    def __init__(self) -> None:
        self.inside, self.leave = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        with rcu.read_lock():
            self.inside.set()
            self.leave.wait()

    def __enter__(self) -> Self:
        self.thread.start()
        self.inside.wait()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.leave.set()
        self.thread.join()


@pytest.fixture
def reader() -> type[Reader]:
    """Makes readers, for `with`."""
    return Reader


@pytest.fixture
def in_child() -> Callable[[Callable[[], object]], None]:
    """Runs body in a forked child and checks that it came through."""

    def run(body: Callable[[], object]) -> None:
        pid = os.fork()
        if pid == 0:
            code = 1
            signal.alarm(60)  # a child that hangs ends by it
            try:
                body()
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0

    return run


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> list[sys.UnraisableHookArgs]:
    """What is told to sys.unraisablehook."""
    seen: list[sys.UnraisableHookArgs] = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)
    return seen
