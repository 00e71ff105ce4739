"""Checkpoints by torch.distributed.checkpoint: saved by some processes, loaded by others in number."""

from pathlib import Path

import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.optim import Optimizer

from prism_compile.optim import MuonWithAdamW

from . import muon, shampoo
from .twins import assert_same

STEPS = 4
KINDS = ("muon-fsdp", "whole-fsdp", "shampoo-fsdp", "shampoo-replicated", "shampoo-shard_state")


def _made(kind: str, world: int) -> tuple[nn.Module, list[Optimizer]]:
    """A model and its optimizer as they lie over the processes, plain in a single one."""
    name, _, way = kind.partition("-")
    lies = "fsdp" if way == "fsdp" and world > 1 else "plain"
    (model,) = muon.models(lies)
    options = {}
    if way != "fsdp" and world > 1:
        options = {"process_group": dist.group.WORLD}
        if way == "shard_state":
            options["shard_state"] = True
    if name == "shampoo":
        return model, [shampoo.build(model.parameters(), lr=0.01, **options)]
    if name == "whole":
        return model, [MuonWithAdamW(model, lr=0.01, muon={"dtype": None}, compile=False)]
    return model, [muon.build([p for p in model.parameters() if p.ndim > 1], beta2=0.9, **options)]


def _steps(model: nn.Module, optimizers: list[Optimizer], first: int) -> None:
    muon.train(model, optimizers, first=first, steps=STEPS)


def _state(model: nn.Module, optimizers: list[Optimizer]) -> dict:
    weights, state = get_state_dict(model, optimizers)
    return {"model": weights, "optimizer": state}


def save(world: int, folder: Path) -> None:
    """Train and save."""
    for kind in KINDS:
        model, optimizers = _made(kind, world)
        _steps(model, optimizers, 0)
        dcp.save(_state(model, optimizers), checkpoint_id=folder / kind)


def load(world: int, folder: Path) -> None:
    """Load into a new model and go on: as one process that was never interrupted."""
    for kind in KINDS:
        model, optimizers = _made(kind, world)
        state = _state(model, optimizers)
        dcp.load(state, checkpoint_id=folder / kind)
        set_state_dict(
            model, optimizers, model_state_dict=state["model"], optim_state_dict=state["optimizer"]
        )
        _steps(model, optimizers, STEPS)
        twin, others = _made(kind, 1)
        _steps(twin, others, 0)
        _steps(twin, others, STEPS)
        assert_same(model.parameters(), twin.parameters())


CASES = {"save": save, "load": load}
