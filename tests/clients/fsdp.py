"""One of two processes that accelerate's FSDP2 shards a model over: `python -m tests.clients.fsdp FOLDER`."""

import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from .models import batches, made, optimizer_of, plain_loop, schedule_of, train_by_accelerate

DATA, ACCUMULATED = batches(12), 2


def accelerator_of() -> Any:
    from accelerate import Accelerator, DistributedType, FullyShardedDataParallelPlugin, PartialState

    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2, auto_wrap_policy="size_based_wrap", min_num_params=90, cpu_ram_efficient_loading=False
    )
    accelerator = Accelerator(gradient_accumulation_steps=ACCUMULATED, fsdp_plugin=plugin)
    # On processors accelerate makes plain DDP of it, though all else of its FSDP works there.
    for state in (PartialState(), accelerator.state):
        state.distributed_type = DistributedType.FSDP
    accelerator.state.fsdp_plugin = plugin
    return accelerator


def prepared(accelerator: Any) -> tuple:
    model = made()
    # Solves in float32: batches of other sizes then differ by its rounding alone.
    optimizer = optimizer_of(model, muon={"dtype": None})
    return accelerator.prepare(model, optimizer, schedule_of(optimizer))


def whole(model: nn.Module) -> list[torch.Tensor]:
    return [param.full_tensor() for param in model.parameters()]


def main(folder: Path) -> None:
    accelerator = accelerator_of()
    model, optimizer, schedule = prepared(accelerator)
    assert all(isinstance(param, DTensor) for param in model.parameters())
    assert len(optimizer.param_groups) == 2
    train_by_accelerate(accelerator, model, optimizer, schedule, DATA[:6])
    accelerator.save_state(folder)
    train_by_accelerate(accelerator, model, optimizer, schedule, DATA[6:])
    # Both processes have the same data.
    expected = plain_loop(DATA, ACCUMULATED, 0.5, muon={"dtype": None})
    for found, param in zip(whole(model), expected.parameters(), strict=True):
        torch.testing.assert_close(found, param.detach(), rtol=0, atol=1e-5)
    straight = whole(model)
    accelerator.free_memory()
    resumed, *others = prepared(accelerator)
    accelerator.load_state(folder)
    train_by_accelerate(accelerator, resumed, *others, DATA[6:])
    assert all(map(torch.equal, whole(resumed), straight))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    sys.stdout.flush()
    # As in tests/optim/processes: gloo's threads may outlive the interpreter.
    os._exit(0)
