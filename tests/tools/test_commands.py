"""Every command has its study, and the studies run: small, without graphs where these would take long."""

import os
import subprocess
import sys
from functools import partial
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


def test_no_command_is_without_a_study():
    commands = {path.name for path in TOOLS.iterdir() if path.is_file() and not path.suffix}
    assert commands == {*COMMANDS, "test"}


def test_a_command_finds_the_studies(tmp_path):
    """From another folder, and without a path of the caller's."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    script = f'source "{TOOLS}/environment.sh"; python="{sys.executable}"; study stub --check'
    subprocess.run(["bash", "-euc", script], cwd=tmp_path, env=clean, check=True)


def test_demo(folders, capsys):
    pytest.importorskip("matplotlib", reason="the extra `demo` is not installed")
    from studies.demo.__main__ import main

    main(["--quick"])
    printed = capsys.readouterr().out
    assert "polar: momentum matrices" in printed
    assert printed.count("linalg.eigh") == 2
    assert printed in (folders / "out" / "demo.txt").read_text()
    assert has_png(folders / "out" / "demo.png")


def test_bench(folders, capsys, monkeypatch):
    pytest.importorskip("matplotlib", reason="the extra `demo` is not installed")
    from studies.bench import measure
    from studies.bench.__main__ import main

    monkeypatch.setattr(measure, "compiled", lambda function, mode, **options: partial(function, **options))
    for part in ("polar", "roots"):
        main(["--quick", "--threads", "1", "--seconds", "0.001", "--only", part])
    printed = capsys.readouterr().out
    assert "peer Polar Express" in printed
    assert "coupled Newton" in printed
    assert has_png(folders / "out" / "bench.png")
    assert (folders / "out" / "bench-roots.txt").exists()


def test_bench_figures(folders, capsys, monkeypatch):
    from studies.bench import figures
    from studies.bench.__main__ import main

    # Two conditions stand for all.
    monkeypatch.setattr(figures, "_newton_cases", lambda quick: [("sqrtm", 48, 1e4), ("polar", 48, 1e2)])
    main(["--quick", "--threads", "1", "--seconds", "0.001", "--only", "figures"])
    lines = capsys.readouterr().out.splitlines()
    named = [line for line in lines if line.startswith(("sqrtm", "polar"))]
    assert len(named) == 2 + 2 * 4
    assert all(" against " in lines[lines.index(line) + 1] for line in named)


def test_gradients(folders, capsys):
    from studies.gradients.__main__ import main

    main(["--quick", "--repeats", "2"])
    row = next(line for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["dual"])
    # The two differ by rounding in single precision.
    assert 0 < float(row.split()[-1]) < 1e-4


def test_spectra(folders, capsys):
    pytest.importorskip("matplotlib", reason="the extra `demo` is not installed")
    from studies.spectra.__main__ import main

    main(["--quick", "--only-summary", "--function", "sqrtm"])
    assert "Means over" in capsys.readouterr().out
    assert has_png(folders / "out" / "spectra-sqrtm.png")


def test_train(folders, capsys):
    pytest.importorskip("matplotlib", reason="the extra `demo` is not installed")
    from studies.train.__main__ import main

    main(
        [
            "--quick",
            "--threads",
            "1",
            "--width",
            "32",
            "--only",
            "torch.optim.Muon 5,Muon adaptive 3,Shampoo prism",
        ]
    )
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    # Orthogonalised, and timed.
    deviation = next(float(row[-1]) for row in rows if row[:3] == ["Muon", "adaptive", "3"])
    assert 0 < deviation < 0.9
    assert sum(row[:1] == ["prism"] for row in rows) == 6
    assert has_png(folders / "out" / "train.png")


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_scale(folders, capsys, monkeypatch):
    from studies.scale import __main__ as scale

    # Processes run in a test of their own.
    monkeypatch.setattr(scale, "compare", lambda worlds: worlds == [2])
    assert scale.main(["--quick", "--detail"]) == 0
    printed = capsys.readouterr().out
    assert "List small" in printed
    assert "ms per step" in printed
    assert (folders / "out" / "scale-detail.txt").exists()


def test_stub():
    from studies.stub.__main__ import main

    assert main(["--check"]) == 0
