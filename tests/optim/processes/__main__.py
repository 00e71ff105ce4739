"""Runs cases in several processes, for `python -m tests.optim.processes`.

It reads `CASES WORLD FOLDER` a line, CASES joined by +, and answers each with the ranks that failed; what a
process says is in FOLDER/RANK.txt. Processes are forked from this one, which imports torch once for all.
"""

import os
import signal
import sys
import traceback
from pathlib import Path

import torch
import torch._dynamo
import torch.distributed as dist

from . import checkpoints, muon, orthogonaliser, refusals, shampoo

CASES = {**muon.CASES, **shampoo.CASES, **orthogonaliser.CASES, **refusals.CASES, **checkpoints.CASES}


def take_part(cases: str, rank: int, world: int, folder: Path) -> None:
    output = os.open(folder / f"{rank}.txt", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(output, stream)
    # One that waits for another in vain.
    signal.alarm(300)
    status = 1
    try:
        rendezvous = folder / f"rendezvous-{cases}-{world}"
        dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world)
        for case in cases.split("+"):
            CASES[case](world, folder)
        dist.destroy_process_group()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Meshes live on in DTensor's caches, and with them gloo's threads: one that lets go of a tensor while
        # the interpreter shuts down aborts the process (pytorch#179291).
        os._exit(status)


def run(cases: str, world: int, folder: Path) -> list[int]:
    """Run cases in so many processes; the ranks of those that failed."""
    ranks, failed = {}, []
    for rank in range(world):
        if not (child := os.fork()):
            take_part(cases, rank, world, folder)
        ranks[child] = rank
    while ranks:
        child, status = os.wait()
        rank = ranks.pop(child)
        if status:
            failed.append(rank)
            for other in ranks:
                os.kill(other, signal.SIGTERM)
    return failed


if __name__ == "__main__":
    torch.set_num_threads(1)
    for line in sys.stdin:
        cases, world, folder = line.split()
        print(*run(cases, int(world), Path(folder)), flush=True)
