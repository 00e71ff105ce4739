"""A tiny model of random weights, its data, and what a plain loop makes of it."""

import torch
from torch import nn

from prism_compile.optim import MuonWithAdamW

from ..matrices import gaussian

VOCABULARY, LENGTH, BATCH = 24, 6, 4


class Model(nn.Module):
    """An embedding, two hidden matrices and a head; returns the loss."""

    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, 8)
        self.up = nn.Linear(8, 12)
        self.down = nn.Linear(12, 8)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, VOCABULARY)

    def forward(self, tokens: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        x = self.tokens(tokens)
        x = self.norm(x + self.down(self.up(x).relu()))
        return nn.functional.cross_entropy(self.head(x).flatten(0, 1), wanted.flatten())


def made() -> Model:
    torch.manual_seed(0)
    return Model()


def batches(count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    found = []
    for seed in range(count):
        tokens = (gaussian(BATCH, LENGTH, seed=seed) * 100).long() % VOCABULARY
        found.append((tokens, (3 * tokens + 1) % VOCABULARY))
    return found


def optimizer_of(model: nn.Module, **options) -> MuonWithAdamW:
    return MuonWithAdamW(model, **{"lr": 0.02, "compile": False, **options})


def schedule_of(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)


def assert_close(model: nn.Module, other: nn.Module, tolerance: float) -> None:
    for (name, param), twin in zip(model.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(param, twin, rtol=0, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")


def assert_moved(model: nn.Module, start: nn.Module) -> None:
    assert all(not torch.equal(param, old) for param, old in zip(model.parameters(), start.parameters()))


def plain_loop(data: list, accumulated: int, norm: float, **options) -> Model:
    """Clipping, accumulation and a schedule by hand."""
    model = made()
    optimizer = optimizer_of(model, **options)
    schedule = schedule_of(optimizer)
    for first in range(0, len(data), accumulated):
        optimizer.zero_grad()
        for batch in data[first : first + accumulated]:
            (model(*batch) / accumulated).backward()
        nn.utils.clip_grad_norm_(model.parameters(), norm)
        optimizer.step()
        schedule.step()
    return model


def train_by_accelerate(accelerator, model, optimizer, schedule, data) -> None:
    for batch in data:
        with accelerator.accumulate(model):
            accelerator.backward(model(*batch))
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
