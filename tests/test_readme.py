"""Every Python snippet of the README runs, in order, in one namespace."""

import re
import textwrap
from pathlib import Path

import torch

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_snippets_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch._dynamo.reset()
    snippets = re.findall(r"^( *)```python\n(.*?)^ *```", README, flags=re.M | re.S)
    assert len(snippets) >= 7
    namespace = {"__name__": "readme"}
    for _, snippet in snippets:
        exec(compile(textwrap.dedent(snippet), "README.md", "exec"), namespace)
    U = namespace["U"]
    torch.testing.assert_close(U.mT @ U, torch.eye(256).expand(8, 256, 256), atol=1e-3, rtol=0)
    assert (tmp_path / "whiten.pt2").exists()
    assert (tmp_path / "trace.json").exists()


def table_after(heading: str) -> list[tuple[str, ...]]:
    """The rows of five numbers between this heading and the next."""
    text = README.split(heading)[1].split("\n**")[0]
    return re.findall(r"^\| (1e\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", text, flags=re.M)


def test_the_table_of_steps_is_what_steps_for_says():
    from prism_compile import steps_for

    rows = table_after("\n**The number of steps.**")
    assert len(rows) == 3
    for condition, adaptive, prism, taylor, cubic in rows:
        assert steps_for("sqrtm", condition=float(condition), tol=1e-3) == int(adaptive)
        assert steps_for("polar", condition=float(condition) ** 0.5, tol=1e-3) == int(adaptive)
        assert steps_for("sqrtm", condition=float(condition), tol=1e-3, rule="prism") == int(prism)
        assert steps_for("sqrtm", condition=float(condition), tol=1e-3, rule="taylor") == int(taylor)
        assert steps_for("sqrtm", condition=float(condition), tol=1e-3, degree=1) == int(cubic)


def test_the_table_of_newton_steps_is_what_steps_for_says():
    from prism_compile import steps_for

    def steps(condition: str, newton_steps: int) -> int:
        return steps_for("sqrtm", condition=float(condition), tol=1e-3, newton_steps=newton_steps)

    rows = table_after("\n**Newton's steps.**")
    assert len(rows) == 5
    for condition, *counts, alone in rows:
        assert [steps(condition, newton_steps) for newton_steps in range(len(counts))] == list(
            map(int, counts)
        )
        # The fewest that need no polynomial.
        assert steps(condition, int(alone)) == int(alone)
        assert steps(condition, int(alone) - 1) >= int(alone)
