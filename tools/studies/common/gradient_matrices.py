"""The matrices that optimizers orthogonalise or take roots of, gathered from a training run."""

import torch
from torch import nn

from .progress import note, show_progress
from .text_model import Corpus, build_model, sample_batch, text_loss, validation_loss


class GradientMatrices:
    """Muon's momentum of some weights, and Shampoo's covariance GᵀG of each."""

    def __init__(self, model: nn.Module, names: tuple[str, ...], decay: float = 0.95):
        self.weights = {name: model.get_parameter(name) for name in names}
        self.decay = decay
        self.momentum = {name: torch.zeros_like(weight) for name, weight in self.weights.items()}
        self.covariance = {
            name: weight.new_zeros(weight.shape[1:] * 2) for name, weight in self.weights.items()
        }

    def accumulate(self) -> None:
        """Take in the present gradients."""
        for name, weight in self.weights.items():
            G = weight.grad
            self.momentum[name].lerp_(G, 1 - self.decay)
            self.covariance[name].addmm_(G.T, G)


def train(corpus: Corpus, names: tuple[str, ...], steps: int, rate: float = 2e-3) -> GradientMatrices:
    """Train the model by AdamW, gathering the matrices of the named weights on the way."""
    model = build_model(corpus)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    matrices = GradientMatrices(model, names)
    for step in range(steps):
        loss = text_loss(model, sample_batch(corpus.training, seed=step))
        optimizer.zero_grad()
        loss.backward()
        matrices.accumulate()
        optimizer.step()
        show_progress(step + 1, steps, f"loss {loss.item():.3f}")
    note(f"validation loss {validation_loss(model, corpus):.3f} nats per character")
    return matrices
