"""Several processes that share the solves, each counting what it sends and computes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

_CHILD = Path(__file__).with_name("scale_child.py")
_LIMIT_S = 300


def measured(world: int, name: str, steps: int, options: dict) -> list[dict[str, dict[str, float]]]:
    """By rank and scheme: bytes `sent` and `flops` per step, mean over so many steps.

    Raises RuntimeError where a process fails.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    folders = [str(_CHILD.parent.parent), os.getenv("PYTHONPATH")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, folders))
    with TemporaryDirectory() as folder:
        shared = [str(world), str(Path(folder) / "rendezvous"), name, str(steps), json.dumps(options)]
        processes = [
            subprocess.Popen(
                [sys.executable, str(_CHILD), str(rank), *shared],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(world)
        ]
        try:
            outputs = [process.communicate(timeout=_LIMIT_S) for process in processes]
        finally:
            for process in processes:
                process.kill()
    for process, (_, errors) in zip(processes, outputs):
        if process.returncode:
            raise RuntimeError(f"one of {world} processes failed:\n{errors}")
    return [json.loads(output.splitlines()[-1]) for output, _ in outputs]
