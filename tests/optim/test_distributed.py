"""Optimizers over several processes step as one does, and load what another number of them has saved."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def processes():
    """Runs cases in several processes, and reports what those that failed have said."""
    server = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tests.optim.processes"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def run(cases: str, world: int, folder: Path) -> None:
        server.stdin.write(f"{cases} {world} {folder}\n")
        server.stdin.flush()
        answer = server.stdout.readline()
        assert answer, "the server has died"
        assert not answer.strip(), "".join((folder / f"{rank}.txt").read_text() for rank in answer.split())

    yield run
    server.kill()
    server.wait()


@pytest.mark.parametrize(
    ("cases", "world"),
    [
        ("refusals+muon-replicated+muon-half+muon-placements+muon-options+switched", 2),
        ("muon-replicated+muon-placements+muon-fsdp+muon-hybrid+muon-tensor-parallel+orthogonaliser", 4),
        ("shampoo-replicated+shampoo-memory+shampoo-sharded+shampoo-late", 2),
        ("shampoo-sharded+shampoo-missing+shampoo-fsdp+shampoo-hybrid+shampoo-tensor-parallel", 4),
    ],
)
def test_processes_step_as_one(processes, cases, world, tmp_path):
    processes(cases, world, tmp_path)


def test_what_four_processes_save_two_and_one_load(processes, tmp_path):
    processes("save", 4, tmp_path)
    for world in (2, 1):
        processes("load", world, tmp_path)
