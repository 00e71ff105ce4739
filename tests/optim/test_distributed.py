"""Optimizers over several processes step as one does, and load what another number of them has saved."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")

ROOT = Path(__file__).parents[2]


def run(cases: str, world: int, folder: Path) -> None:
    """Run cases in `world` processes, and report what those that failed have said."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", "-m", "tests.optim.processes", cases]
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(world), str(folder)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(world)
    ]
    try:
        outputs = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, output in zip(processes, outputs):
        assert process.returncode == 0, output


@pytest.mark.parametrize(
    ("cases", "world"),
    [
        ("refusals+muon-fsdp+muon-replicated+muon-float32+muon-placements+muon-options+switched", 2),
        ("muon-replicated+muon-uneven+muon-hybrid+muon-tensor-parallel+orthogonaliser", 4),
        ("shampoo-replicated+shampoo-memory+shampoo-float32+shampoo-sharded+shampoo-late", 2),
        ("shampoo-sharded+shampoo-missing+shampoo-fsdp+shampoo-hybrid+shampoo-tensor-parallel", 4),
    ],
)
def test_processes_step_as_one(cases, world, tmp_path):
    run(cases, world, tmp_path)


def test_what_four_processes_save_two_and_one_load(tmp_path):
    run("save", 4, tmp_path)
    for world in (2, 1):
        run("load", world, tmp_path)
