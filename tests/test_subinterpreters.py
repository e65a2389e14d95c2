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
assert failed is not None and "main interpreter" in str(failed), failed
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
