"""What holds in every client: steps as by hand, and training that is resumed to the bit; and a tiny model."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from prism_compile.optim import MuonWithAdamW

from ..matrices import gaussian

VOCABULARY, LENGTH, BATCH = 24, 6, 4
STEPS, ACCUMULATED, NORM = 6, 2, 0.5
HALF = STEPS // 2
Batch = tuple[Tensor, Tensor]


class Model(nn.Module):
    """An embedding, two hidden matrices and a head; returns the loss."""

    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, 8)
        self.up = nn.Linear(8, 12)
        self.down = nn.Linear(12, 8)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, VOCABULARY)

    def forward(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        x = self.tokens(tokens)
        x = self.norm(x + self.down(self.up(x).relu()))
        return nn.functional.cross_entropy(self.head(x).flatten(0, 1), wanted.flatten())


def sentence(seed: int) -> Batch:
    tokens = (gaussian(BATCH, LENGTH, seed=seed) * 100).long() % VOCABULARY
    return tokens, (3 * tokens + 1) % VOCABULARY


def schedule_of(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)


@pytest.mark.filterwarnings("ignore")
class Client:
    """Training with clipping, accumulation and a schedule; a subclass says how it is done in a client."""

    # Of the optimizer, beside those that all have.
    options: ClassVar[dict[str, Any]] = {}
    tolerance = 1e-6

    def made(self) -> nn.Module:
        torch.manual_seed(0)
        return Model()

    def epoch(self) -> list[Batch]:
        """The data of the first half of the steps, and of the second."""
        return [sentence(seed) for seed in range(HALF * ACCUMULATED)]

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return model(*batch)

    def optimizer_of(self, model: nn.Module) -> MuonWithAdamW:
        return MuonWithAdamW(model, lr=0.02, compile=False, **self.options)

    def trained(self, folder: Path, steps: int, resume: bool = False) -> nn.Module:
        """The model after the steps, saved in the folder; resumed, after those HALF that are saved there."""
        raise NotImplementedError

    def by_hand(self) -> nn.Module:
        model = self.made()
        optimizer = self.optimizer_of(model)
        schedule = schedule_of(optimizer)
        for number, batch in enumerate(2 * self.epoch(), start=1):
            (self.loss(model, batch) / ACCUMULATED).backward()
            if number % ACCUMULATED == 0:
                nn.utils.clip_grad_norm_(model.parameters(), NORM)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
        return model

    def test_it_steps_as_a_plain_loop_does(self, tmp_path):
        start, model = self.made(), self.trained(tmp_path, STEPS)
        assert_close(model, self.by_hand(), self.tolerance)
        assert all(not torch.equal(new, old) for new, old in zip(model.parameters(), start.parameters()))
        before, after = (sum(self.loss(each, batch) for batch in self.epoch()) for each in (start, model))
        assert after < before

    def test_resuming_changes_nothing(self, tmp_path):
        straight = self.trained(tmp_path / "straight", STEPS)
        self.trained(tmp_path / "halves", HALF)
        assert_close(self.trained(tmp_path / "halves", STEPS, resume=True), straight, 0)


def assert_close(model: nn.Module, other: nn.Module, tolerance: float) -> None:
    for (name, param), twin in zip(model.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(param, twin, rtol=0, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")
