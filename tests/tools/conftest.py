"""Runs of the studies leave what they write in a folder of the test's."""

import pytest

from studies.common import results


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """`studies` and `out` in place of the real ones."""
    monkeypatch.setattr(results, "STUDIES", tmp_path / "studies")
    monkeypatch.setattr(results, "OUT", tmp_path / "out")
    return tmp_path
