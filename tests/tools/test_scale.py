"""tools/scale: what is counted without other processes is what processes that run send and compute."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed as dist

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch without distributed")

_OPTIONS = {"Muon": {}, "Shampoo": {"max_preconditioner_dim": 96, "precondition_frequency": 2}}
# One of the processes that meet at a file; prints its counts by scheme.
_CHILD = f"""
import json, os, sys
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from studies.scale.count import build, counted
from studies.scale.lists import LISTS, SCHEMES

rank, world, rendezvous = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
dist.init_process_group("gloo", init_method=f"file://{{rendezvous}}", rank=rank, world_size=world)
found = {{}}
for scheme in SCHEMES:
    mesh = init_device_mesh("cpu", scheme.grid(world, 2), mesh_dim_names=("replicate", "shard"))
    options = {_OPTIONS}[scheme.optimizer]
    found[scheme.name] = counted(build(scheme, LISTS["small"], mesh, options), 2)
print(json.dumps(found), flush=True)
dist.barrier()
# Gloo's threads, which meshes keep alive, may abort a process that shuts its interpreter down.
os._exit(0)
"""


def measured(world: int, folder: Path) -> list[dict]:
    command = [sys.executable, "-W", "ignore", "-c", _CHILD]
    words = [str(world), str(folder / "rendezvous")]
    processes = [
        subprocess.Popen([*command, str(rank), *words], stdout=subprocess.PIPE, env=environment())
        for rank in range(world)
    ]
    try:
        outputs = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * world
    return [json.loads(output) for output in outputs]


def environment() -> dict[str, str]:
    from studies.common.processes import module_environment

    return module_environment(OMP_NUM_THREADS="1")


def test_two_processes_do_what_is_counted_for_each(tmp_path):
    from studies.scale.count import counts
    from studies.scale.lists import LISTS, SCHEMES

    for rank, process in enumerate(measured(2, tmp_path)):
        for scheme in SCHEMES:
            own = _OPTIONS[scheme.optimizer]
            found = counts(scheme, LISTS["small"], scheme.grid(2, 2), rank, own, 2)
            assert list(found) == process[scheme.name], (scheme.name, rank)
            assert min(found) > 0


def test_more_processes_than_matrices_idle():
    """Two matrices `[8, 8]` among four replicas, of which two send half of theirs before all gather."""
    from studies.scale.count import counts
    from studies.scale.lists import SCHEMES

    found = [counts(SCHEMES[0], [(8, 8), (8, 8)], (4, 1), rank, {}, 1) for rank in range(4)]
    size = 8 * 8 * 2
    # Of four even halves the first matrix makes the first two, the second the others.
    assert sorted(sent for sent, _ in found) == [1.5 * size, 1.5 * size, 2 * size, 2.5 * size]
    flops = sorted(flops for _, flops in found)
    assert flops[:2] == [0, 0]
    assert flops[2] == flops[3] > 0


def test_the_command_prints_three_tables(folders, capsys, monkeypatch):
    from studies.scale import __main__ as scale

    monkeypatch.setattr(scale, "SCHEMES", scale.SCHEMES[:2])
    scale.main(["--quick"])
    printed = capsys.readouterr().out
    assert printed.count("List small: 18 matrices") == 3
    assert (folders / "out" / "scale-small.txt").exists()
