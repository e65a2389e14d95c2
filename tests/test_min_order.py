"""The least order of all slabs, from the environment."""

import subprocess
import sys

import pytest

ORDER = "import haybarn; c = haybarn.KmemCache('c', 64); print(c.order, haybarn.info()['min_order'])"


def order_under(value):
    environment = {"HAYBARN_MIN_ORDER": value, "PATH": "/usr/bin:/bin"}
    return subprocess.run([sys.executable, "-c", ORDER], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(("value", "expected"), [("", "0 0"), ("2", "2 2")])
def test_least_order_of_all_slabs(value, expected):
    assert order_under(value).stdout.strip() == expected


@pytest.mark.parametrize("value", ["10", "-1", "two", b"\xff"])
def test_an_order_out_of_range_is_refused_by_name(value):
    ran = order_under(value)
    assert ran.returncode != 0
    assert "BadArgumentError" in ran.stderr
    assert "0 to 9" in ran.stderr
