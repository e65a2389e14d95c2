"""The page of claims about object lifetimes names tests that are there."""

from __future__ import annotations

import re


def test_every_test_that_the_page_names_is_there(root):
    named = re.findall(r"`([\w/]+\.(?:py|rs))::(\w+)`", (root / "docs" / "lifetimes.md").read_text())
    assert len(named) > 40
    for file, name in named:
        word = "def" if file.endswith(".py") else "fn"
        assert re.search(rf"^{word} {name}\(", (root / file).read_text(), re.MULTILINE), (file, name)
