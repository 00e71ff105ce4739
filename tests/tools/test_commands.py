"""Every command has its study, and the studies run: small, without graphs where these would take long."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"
COMMANDS = sorted(path.parent.name for path in TOOLS.glob("studies/*/__main__.py"))


def test_every_command_is_on_the_map_and_starts_its_study_or_tests():
    commands = {path.name: path for path in TOOLS.iterdir() if path.is_file() and not path.suffix}
    assert commands.keys() >= {*COMMANDS, "test"}
    for name, path in commands.items():
        assert f"| `tools/{name}" in (TOOLS / "README.md").read_text()
        assert os.access(path, os.X_OK)
        assert (f'\nstudy {name} "$@"\n' if name in COMMANDS else "-m pytest") in path.read_text()


def test_studies_import_public_names_alone():
    private = re.compile(
        r"^\s*(?:from|import) +prism_compile\S*\._|^\s*from +prism_compile\S* +import +_", re.MULTILINE
    )
    assert private.search("from prism_compile._rules import RULES")
    assert not [path for path in TOOLS.rglob("*.py") if private.search(path.read_text())]


def test_a_command_finds_the_studies(tmp_path):
    """From another folder, and without a path of the caller's."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    script = f'source "{TOOLS}/environment.sh"; python="{sys.executable}"; study scale --help'
    subprocess.run(["bash", "-euc", script], cwd=tmp_path, env=clean, check=True)


def test_demo(one_thread, folders, capsys):
    pytest.importorskip("matplotlib", reason="the extra `demo` is not installed")
    from studies.demo.__main__ import main

    main(["--quick"])
    printed = capsys.readouterr().out
    last = printed.strip().splitlines()[-3:]
    assert [line.split()[0] for line in last] == ["Compared", "Found", "Call"]
    assert printed in (folders / "out" / "demo.txt").read_text()
    assert (folders / "out" / "demo.png").read_bytes().startswith(b"\x89PNG")
