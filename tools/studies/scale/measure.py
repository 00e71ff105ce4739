"""Several processes that share the solves, each counting what it sends and computes."""

import json
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from ..common.processes import module_command, module_environment

_LIMIT_S = 300


def measured(world: int, name: str, steps: int, options: dict) -> list[dict[str, dict[str, float]]]:
    """By rank and scheme: bytes `sent` and `flops` per step, mean over so many steps.

    Raises RuntimeError where a process fails.
    """
    environment = module_environment(OMP_NUM_THREADS="1", PYTHONWARNINGS="ignore")
    with TemporaryDirectory() as folder:
        shared = [str(world), str(Path(folder) / "rendezvous"), name, str(steps), json.dumps(options)]
        processes = [
            subprocess.Popen(
                module_command("scale.child", str(rank), *shared),
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
