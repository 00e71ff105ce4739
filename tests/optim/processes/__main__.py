"""One of several processes: `python -m tests.optim.processes CASES RANK WORLD FOLDER`, CASES joined by +."""

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from . import checkpoints, muon, orthogonaliser, refusals, shampoo

CASES = {**muon.CASES, **shampoo.CASES, **orthogonaliser.CASES, **refusals.CASES, **checkpoints.CASES}


def main() -> None:
    cases, rank, world, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    torch.set_num_threads(1)
    rendezvous = folder / f"rendezvous-{cases}-{world}"
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world)
    for case in cases.split("+"):
        CASES[case](world, folder)
    dist.destroy_process_group()
    # Meshes live on in DTensor's caches, and with them gloo's threads: one that lets go of a tensor while the
    # interpreter shuts down aborts the process (pytorch#179291). An assertion never gets here.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
