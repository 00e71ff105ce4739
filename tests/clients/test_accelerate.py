"""accelerate: prepare, accumulate, clip, save and load; and FSDP2 over two processes, end to end."""

import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed: tools/clients has it")

from .client import ACCUMULATED, HALF, NORM, Client, schedule_of  # noqa: E402

ROOT = Path(__file__).parents[2]


class TestAccelerate(Client):
    def accelerator(self):
        accelerate.state.AcceleratorState._reset_state(True)
        return accelerate.Accelerator(cpu=True, gradient_accumulation_steps=ACCUMULATED)

    def trained(self, folder, steps, resume=False):
        accelerator, model = self.accelerator(), self.made()
        optimizer = self.optimizer_of(model)
        model, optimizer, schedule = accelerator.prepare(model, optimizer, schedule_of(optimizer))
        if resume:
            accelerator.load_state(folder)
        data = 2 * self.epoch()
        for batch in data[ACCUMULATED * (HALF if resume else 0) : ACCUMULATED * steps]:
            with accelerator.accumulate(model):
                accelerator.backward(self.loss(model, batch))
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), NORM)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
        accelerator.save_state(folder)
        return self.whole(accelerator.unwrap_model(model))

    def whole(self, model: nn.Module) -> nn.Module:
        """A model that is no longer sharded."""
        return model


def test_fsdp2_over_two_processes(tmp_path):
    """Sharded by `prepare`, trained, saved by shards, loaded and trained on, in processes of their own."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "tests.clients.fsdp", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
