"""Every command has its study, and the studies run: small, without graphs where these would take long."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

TOOLS = Path(__file__).resolve().parents[2] / "tools"
COMMANDS = sorted(path.parent.name for path in TOOLS.glob("studies/*/__main__.py"))


@pytest.fixture(autouse=True)
def fresh_dynamo(one_thread):
    yield
    torch._dynamo.reset()


def has_png(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_starts_its_study(name):
    command = TOOLS / name
    assert os.access(command, os.X_OK)
    assert f'\nstudy {name} "$@"\n' in command.read_text()


def test_studies_import_public_names_alone():
    private = re.compile(
        r"^\s*(?:from|import) +prism_compile\S*\._|^\s*from +prism_compile\S* +import +_", re.MULTILINE
    )
    assert private.search("from prism_compile._rules import RULES")
    assert not [path for path in TOOLS.rglob("*.py") if private.search(path.read_text())]


def test_the_map_names_every_command():
    text = (TOOLS / "README.md").read_text()
    assert [name for name in (*COMMANDS, "test", "clients") if f"| `tools/{name}" not in text] == []


def test_no_command_is_without_a_study():
    commands = {path.name for path in TOOLS.iterdir() if path.is_file() and not path.suffix}
    assert commands == {*COMMANDS, "test", "clients"}


def test_a_command_finds_the_studies(tmp_path):
    """From another folder, and without a path of the caller's."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    script = f'source "{TOOLS}/environment.sh"; python="{sys.executable}"; study scale --help'
    subprocess.run(["bash", "-euc", script], cwd=tmp_path, env=clean, check=True)


def test_demo(folders, capsys):
    pytest.importorskip("matplotlib", reason="the extra `demo` is not installed")
    from studies.demo.__main__ import main

    main(["--quick"])
    printed = capsys.readouterr().out
    last = printed.strip().splitlines()[-3:]
    assert [line.split()[0] for line in last] == ["Compared", "Found", "Call"]
    assert printed in (folders / "out" / "demo.txt").read_text()
    assert has_png(folders / "out" / "demo.png")


def test_train(folders, capsys):
    pytest.importorskip("matplotlib", reason="the extra `demo` is not installed")
    from studies.train.__main__ import main
    from studies.train.methods import SHAMPOO_STEPS

    only = "torch.optim.Muon,Muon adaptive 3,Shampoo"
    main(["--quick", "--threads", "1", "--width", "32", "--only", only])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    # Orthogonalised, and timed.
    deviation = next(float(row[-1]) for row in rows if row[:3] == ["Muon", "adaptive", "3"])
    assert 0 < deviation < 0.9
    assert sum(row[:1] == ["Shampoo"] for row in rows) == 1 + len(SHAMPOO_STEPS)
    assert has_png(folders / "out" / "train.png")
