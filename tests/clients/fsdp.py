"""A process of those that accelerate's FSDP2 shards a model over: `torchrun -m tests.clients.fsdp FOLDER`."""

import os
import sys
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor

from .client import ACCUMULATED
from .test_accelerate import TestAccelerate, accelerate


class Sharded(TestAccelerate):
    # Solves in float32: batches of other sizes then differ by its rounding alone.
    options = {"muon": {"dtype": None}}  # noqa: RUF012
    tolerance = 1e-5

    def accelerator(self):
        plugin = accelerate.FullyShardedDataParallelPlugin(
            fsdp_version=2,
            auto_wrap_policy="size_based_wrap",
            min_num_params=90,
            cpu_ram_efficient_loading=False,
        )
        accelerator = accelerate.Accelerator(gradient_accumulation_steps=ACCUMULATED, fsdp_plugin=plugin)
        # On processors accelerate makes plain DDP of it, though all else of its FSDP works there.
        for state in (accelerate.PartialState(), accelerator.state):
            state.distributed_type = accelerate.DistributedType.FSDP
        accelerator.state.fsdp_plugin = plugin
        return accelerator

    def whole(self, model):
        assert all(isinstance(param, DTensor) for param in model.parameters())
        whole = self.made()
        with torch.no_grad():
            for param, sharded in zip(whole.parameters(), model.parameters(), strict=True):
                param.copy_(sharded.full_tensor())
        return whole


if __name__ == "__main__":
    # Both processes have the same data, and the checkpoint is of shards.
    Sharded().test_it_steps_as_a_plain_loop_does(Path(sys.argv[1]))
    Sharded().test_resuming_changes_nothing(Path(sys.argv[1]))
    sys.stdout.flush()
    # As in tests/optim/processes: gloo's threads may outlive the interpreter.
    os._exit(0)
