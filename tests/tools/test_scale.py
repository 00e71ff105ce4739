"""tools/scale: what is counted without other processes is what processes that run send and compute."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed as dist

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch without distributed")

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = {"Muon": {}, "Shampoo": {"max_preconditioner_dim": 96, "precondition_frequency": 2}}
# One of two processes that meet at a file; prints its counts by scheme.
CHILD = f"""
import json, os, sys
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from studies.scale.count import SCHEMES, SMALL, build, counted

rank, rendezvous = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{{rendezvous}}", rank=rank, world_size=2)
found = {{}}
for scheme in SCHEMES[1:3] + SCHEMES[4::3]:
    mesh = init_device_mesh("cpu", scheme.grid(2, 2), mesh_dim_names=("replicate", "shard"))
    found[scheme.name] = counted(build(scheme, SMALL, mesh, {OPTIONS}[scheme.optimizer]), 2)
print(json.dumps(found), flush=True)
dist.barrier()
# Gloo's threads, which meshes keep alive, may abort a process that shuts its interpreter down.
os._exit(0)
"""


def measured(rendezvous: Path) -> list[dict]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'tools'}:{ROOT}"}
    command = [sys.executable, "-W", "ignore", "-c", CHILD]
    processes = [
        subprocess.Popen([*command, rank, str(rendezvous)], stdout=subprocess.PIPE, env=environment)
        for rank in ("0", "1")
    ]
    try:
        outputs = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0]
    return [json.loads(output) for output in outputs]


def test_two_processes_do_what_is_counted_for_each(tmp_path):
    from studies.scale.count import SCHEMES, SMALL, counts

    for rank, process in enumerate(measured(tmp_path / "rendezvous")):
        assert len(process) == 4
        for scheme in SCHEMES:
            if scheme.name in process:
                found = counts(scheme, SMALL, scheme.grid(2, 2), rank, OPTIONS[scheme.optimizer], 2)
                assert list(found) == process[scheme.name], (scheme.name, rank)
                assert min(found) > 0


def test_more_processes_than_matrices_idle():
    """Two matrices `[8, 8]` among four replicas, of which two send half of theirs before all gather."""
    from studies.scale.count import SCHEMES, counts

    found = [counts(SCHEMES[0], [(8, 8), (8, 8)], (4, 1), rank, {}, 1) for rank in range(4)]
    size = 8 * 8 * 2
    # Of four even halves the first matrix makes the first two, the second the others.
    assert sorted(sent for sent, _ in found) == [1.5 * size, 1.5 * size, 2 * size, 2.5 * size]
    flops = sorted(flops for _, flops in found)
    assert flops[:2] == [0, 0]
    assert flops[2] == flops[3] > 0


def test_the_command_prints_its_tables(folders, capsys, monkeypatch):
    from studies.scale import __main__ as scale

    monkeypatch.setattr(scale, "SCHEMES", scale.SCHEMES[:2])
    scale.main(["--quick"])
    assert capsys.readouterr().out.count("18 matrices") == 2
    assert (folders / "out" / "scale.txt").exists()
