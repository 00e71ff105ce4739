"""Muon over sharded parameters: several processes step as one does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")

WORKER = Path(__file__).with_name("muon_worker.py")


def run_case(cases: str, world: int, folder: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(WORKER.parent.parent)}
    command = [sys.executable, "-W", "ignore", str(WORKER), cases]
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(world), str(folder / "rendezvous")],
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


@pytest.mark.parametrize(("cases", "world"), [("fsdp+placements", 2), ("uneven+grid", 4)])
def test_processes_step_as_one(cases, world, tmp_path):
    run_case(cases, world, tmp_path)
