"""The README: its Python snippets run, in order, in one namespace; its tables and quotes are true."""

import re
import textwrap
from itertools import groupby
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


def quotes(text: str) -> list[tuple[str, list[str]]]:
    """The results file that the paragraph before a fenced block names last, and the block's lines."""
    found: list[tuple[str, list[str]]] = []
    above: list[str] = []
    block: list[str] | None = None
    ended = False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            if block is None:
                block = []
                continue
            found += [(name, block) for name in RESULTS.findall(" ".join(above))[-1:]]
            above, block = [], None
        elif block is not None:
            block.append(line)
        elif line.strip():
            above = [line] if ended else [*above, line]
        ended = not line.strip()
    return found


def is_quoted(block: list[str], lines: list[str]) -> bool:
    """Whether the block's parts, between lines of "…", are contiguous and one after another."""
    start = 0
    for dots, part in groupby(block, lambda line: line == "…"):
        own = list(part)
        if not dots:
            places = [i for i in range(start, len(lines)) if lines[i : i + len(own)] == own]
            if not places:
                return False
            start = places[0] + len(own)
    return True


@pytest.mark.parametrize("text", ["README.md", "tools/README.md"])
def test_quotes_are_what_the_studies_wrote(text):
    found = quotes((ROOT / text).read_text())
    assert found
    for name, block in found:
        assert block, name
        lines = (ROOT / name).read_text().splitlines()
        assert is_quoted(block, lines), "\n".join([f"{name} has not:", *block])


def test_a_quote_is_told_from_what_is_none():
    text = "Of `tools/studies/demo/results.txt`,\ntwo lines:\n\n```\na  1\nb  2\n```\n\n```\nno quote\n```\n"
    assert quotes(text) == [("tools/studies/demo/results.txt", ["a  1", "b  2"])]
    lines = ["head", "a  1", "b  2", "c  3"]
    assert all(is_quoted(block, lines) for block in (["a  1", "b  2"], ["c  3"], ["a  1", "…", "c  3"]))
    assert not any(is_quoted(block, lines) for block in (["c  3", "…", "a  1"], ["a  1", "c  3"], ["b  3"]))
