"""accelerate: prepare, accumulate, clip, save and load; and FSDP2 over two processes, end to end."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed: tools/clients has it")

from .models import (  # noqa: E402
    assert_close,
    assert_moved,
    batches,
    made,
    optimizer_of,
    plain_loop,
    schedule_of,
    train_by_accelerate,
)

pytestmark = pytest.mark.filterwarnings("ignore")
ACCUMULATED = 2
DATA = batches(12)
ROOT = Path(__file__).parents[2]


def prepared() -> tuple:
    accelerate.state.AcceleratorState._reset_state(True)
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=ACCUMULATED)
    model = made()
    optimizer = optimizer_of(model)
    return accelerator, *accelerator.prepare(model, optimizer, schedule_of(optimizer))


def test_what_is_prepared_trains_as_a_plain_loop_does():
    accelerator, model, optimizer, schedule = prepared()
    train_by_accelerate(accelerator, model, optimizer, schedule, DATA)
    assert_close(accelerator.unwrap_model(model), plain_loop(DATA, ACCUMULATED, 0.5), 1e-6)
    assert_moved(accelerator.unwrap_model(model), made())


def test_resuming_changes_nothing(tmp_path):
    accelerator, straight, *others = prepared()
    train_by_accelerate(accelerator, straight, *others, DATA[:6])
    accelerator.save_state(tmp_path)
    train_by_accelerate(accelerator, straight, *others, DATA[6:])
    accelerator, resumed, *others = prepared()
    accelerator.load_state(tmp_path)
    train_by_accelerate(accelerator, resumed, *others, DATA[6:])
    assert_close(resumed, straight, 0)


def test_fsdp2_over_two_processes_trains_as_a_plain_loop_does(tmp_path):
    """Sharded by `prepare`, trained, saved by shards, loaded and trained on, in processes of their own."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    common = {"WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    common |= {"OMP_NUM_THREADS": 1, "PYTHONPATH": ROOT}
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.clients.fsdp", str(tmp_path)],
            cwd=ROOT,
            env={
                **os.environ,
                **{k: str(v) for k, v in {**common, "RANK": rank, "LOCAL_RANK": rank}.items()},
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=200)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, output in zip(processes, outputs):
        assert process.returncode == 0, output
