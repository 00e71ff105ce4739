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


def test_the_table_of_steps_is_what_steps_for_says():
    from prism_compile import steps_for

    rows = re.findall(r"^\| (1e\d) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", README, flags=re.M)
    assert len(rows) == 3
    for condition, adaptive, prism, taylor, cubic in rows:
        assert steps_for("sqrtm", condition=float(condition), tol=1e-3) == int(adaptive)
        assert steps_for("polar", condition=float(condition) ** 0.5, tol=1e-3) == int(adaptive)
        assert steps_for("sqrtm", condition=float(condition), tol=1e-3, rule="prism") == int(prism)
        assert steps_for("sqrtm", condition=float(condition), tol=1e-3, rule="taylor") == int(taylor)
        assert steps_for("sqrtm", condition=float(condition), tol=1e-3, degree=1) == int(cubic)
