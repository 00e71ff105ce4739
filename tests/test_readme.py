"""The README: its Python snippets run, in order, in one namespace; its tables and quotes are true."""

import re
import textwrap
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
RESULTS = re.compile(r"tools/studies/\w+/results(?:-[\w-]+)?\.txt")


def test_snippets_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch._dynamo.reset()
    snippets = re.findall(r"^( *)```python\n(.*?)^ *```", README, flags=re.M | re.S)
    assert len(snippets) >= 5
    namespace = {"__name__": "readme"}
    for _, snippet in snippets:
        exec(compile(textwrap.dedent(snippet), "README.md", "exec"), namespace)
    U = namespace["U"]
    torch.testing.assert_close(U.mT @ U, torch.eye(256).expand(8, 256, 256), atol=1e-3, rtol=0)
    assert (tmp_path / "whiten.pt2").exists()
    assert (tmp_path / "trace.json").exists()


def test_the_table_of_steps_is_what_steps_for_says():
    from prism_compile import steps_for

    rows = re.findall(r"^\| (1e\d+) \| (\d+) \| (\d+) \| (\d+) \|$", README, flags=re.M)
    assert len(rows) == 5
    for condition, *counts in rows:
        condition = float(condition)
        asked = [{}, {"rule": "minimax"}, {"rule": "prism"}, {"rule": "taylor"}, {"degree": 1}]
        found = [steps_for("sqrtm", condition=condition, tol=1e-3, **own) for own in asked]
        ours, fitted, cubic = map(int, counts)
        assert found == [ours, ours, fitted, fitted, cubic]
        assert steps_for("polar", condition=condition**0.5, tol=1e-3) == ours
        assert steps_for("sqrtm", condition=condition, tol=1e-6) in (ours, ours + 1)


# A paragraph, and the fenced block below it.
QUOTES = re.compile(r"((?:^[^\n]+\n)+)\n *```\n(.*?)^ *```$", flags=re.M | re.S)


def quotes(text: str) -> list[tuple[str, str]]:
    """The results file that the paragraph before a fenced block names last, and the block."""
    found = [(RESULTS.findall(above), block) for above, block in QUOTES.findall(text)]
    return [(names[-1], block) for names, block in found if names]


def is_quoted(block: str, text: str) -> bool:
    """Whether the block's parts, between lines of "…", are contiguous lines and one after another."""
    parts = (re.escape(f"\n{part}") for part in block.split("…\n"))
    return re.search(".*".join(parts), f"\n{text}", flags=re.S) is not None


@pytest.mark.parametrize("text", ["README.md", "tools/README.md"])
def test_quotes_are_what_the_studies_wrote(text):
    found = quotes((ROOT / text).read_text())
    assert found
    for name, block in found:
        assert is_quoted(block, (ROOT / name).read_text()), f"{name} has not:\n{block}"


def test_a_quote_is_told_from_what_is_none():
    text = "Of `tools/studies/demo/results.txt`,\ntwo lines:\n\n```\na  1\nb  2\n```\n\n```\nno quote\n```\n"
    assert quotes(text) == [("tools/studies/demo/results.txt", "a  1\nb  2\n")]
    lines = "head\na  1\nb  2\nc  3\n"
    assert all(is_quoted(block, lines) for block in ("a  1\nb  2\n", "c  3\n", "a  1\n…\nc  3\n"))
    assert not any(is_quoted(block, lines) for block in ("c  3\n…\na  1\n", "a  1\nc  3\n", "b  3\n", " 1\n"))
