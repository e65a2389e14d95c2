"""The package belongs to the main interpreter, whoever imports it first."""

import subprocess
import sys

import pytest

PROGRAM = """
import {module} as interpreters
sub = interpreters.create()
failed = None
try:
    failed = interpreters.{run}
except Exception as error:
    failed = error
assert failed is not None and ("main interpreter" in str(failed) or "in subinterpreters" in str(failed)), failed
interpreters.destroy(sub)
import haybarn
flags = haybarn.SlabFlags
print(repr(flags.PANIC | flags.NO_MERGE))
"""


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="the private module has another name from 3.13 on")
def test_a_subinterpreter_is_refused_and_leaves_the_package_whole():
    program = PROGRAM.format(module="_xxsubinterpreters", run="run_string(sub, 'import haybarn')")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "PANIC" in done.stdout


AFTERWARDS = """
import ctypes
import {module} as interpreters
import haybarn

state = ctypes.pythonapi.PyGILState_GetThisThreadState
state.restype = ctypes.c_void_p
states = []
interpreters.destroy(interpreters.create())
haybarn.rcu.call(lambda: states.append(("callback", state())))
haybarn.rcu.barrier()
callbacks = dict(ctor=lambda view: None, dtor=lambda payload: states.append(("dtor", state())))
cache = haybarn.KmemCache("afterwards", 64, flags=haybarn.SlabFlags.TYPESAFE_BY_RCU, **callbacks)
cache.alloc().free()
cache.destroy()
print({{name for name, _ in states}} == {{"callback", "dtor"}} and all(own for _, own in states), states)
"""


def test_after_a_subinterpreter_callbacks_come_to_the_interpreter_as_before():
    """Pins a crash: CPython's own check says that every thread holds the GIL once a subinterpreter was made."""
    module = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    program = AFTERWARDS.format(module=module)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("True"), done.stdout
