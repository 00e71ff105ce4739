"""A small causal character-level transformer, and the real text that it learns: Python's own manual.

The text is `pydoc_data.topics`, which every Python has. Batches depend on nothing but their seed. In training
the model gives the matrices that optimizers orthogonalise or take roots of.
"""

from dataclasses import dataclass
from importlib import import_module

import torch
from torch import Tensor, nn
from torch.nn import functional

from .results import note, show_progress

CONTEXT, HEADS, LAYERS = 64, 4, 2


@dataclass(frozen=True)
class Corpus:
    """A text as character numbers, its last tenth held out."""

    alphabet: str
    training: Tensor
    validation: Tensor


def load_corpus() -> Corpus:
    """The joined topics, in the order of their names."""
    topics: dict[str, str] = import_module("pydoc_data.topics").topics
    text = "\n".join(topics[name] for name in sorted(topics))
    alphabet = "".join(sorted(set(text)))
    number = {character: i for i, character in enumerate(alphabet)}
    ids = torch.tensor([number[character] for character in text])
    held_out = len(ids) // 10
    return Corpus(alphabet, ids[:-held_out], ids[-held_out:])


def sample_batch(ids: Tensor, seed: int, batch_size: int = 32) -> tuple[Tensor, Tensor]:
    """Inputs and targets `[batch_size, CONTEXT]` from random places of a text."""
    generator = torch.Generator().manual_seed(seed)
    starts = torch.randint(len(ids) - CONTEXT, (batch_size, 1), generator=generator)
    windows = ids[(starts + torch.arange(CONTEXT + 1)).to(ids.device)]
    return windows[:, :-1], windows[:, 1:]


class Block(nn.Module):
    """One pre-norm transformer layer: causal self-attention, and two layers with a GELU between."""

    def __init__(self, width: int):
        super().__init__()

        def linear(columns: int, rows: int) -> nn.Linear:
            return nn.Linear(columns, rows, bias=False)

        self.attention_norm = nn.RMSNorm(width)
        self.attention = nn.ModuleDict({"qkv": linear(width, 3 * width), "out": linear(width, width)})
        self.mlp_norm = nn.RMSNorm(width)
        self.mlp = nn.ModuleDict({"up": linear(width, 4 * width), "down": linear(4 * width, width)})

    def forward(self, x: Tensor) -> Tensor:
        projected = self.attention["qkv"](self.attention_norm(x))
        query, key, value = projected.unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.attention["out"](mixed.transpose(1, 2).flatten(-2))
        return x + self.mlp["down"](functional.gelu(self.mlp["up"](self.mlp_norm(x))))


class CharTransformer(nn.Module):
    """Logits `[batch, time, alphabet]` of the next character from ids `[batch, time]`."""

    def __init__(self, alphabet: int, width: int):
        super().__init__()
        self.characters = nn.Embedding(alphabet, width)
        self.positions = nn.Embedding(CONTEXT, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(LAYERS))
        self.norm = nn.RMSNorm(width)
        self.head = nn.Linear(width, alphabet, bias=False)
        for table in (self.characters, self.positions):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.characters(ids) + self.positions.weight[: ids.shape[-1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def build_model(corpus: Corpus, seed: int = 0, width: int = 128) -> CharTransformer:
    """A model for the corpus's alphabet; equal seeds give equal weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CharTransformer(len(corpus.alphabet), width).to(corpus.training.device)


def text_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Mean cross-entropy per character, in nats."""
    inputs, targets = batch
    return functional.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())


@torch.no_grad()
def validation_loss(model: nn.Module, corpus: Corpus, batches: int = 8) -> float:
    """Loss on fixed batches of the held-out text."""
    losses = [text_loss(model, sample_batch(corpus.validation, seed)) for seed in range(batches)]
    return torch.stack(losses).mean().item()


@dataclass(frozen=True)
class Gathered:
    """By the name of a weight: Muon's momentum, and Shampoo's covariance GᵀG."""

    momentum: dict[str, Tensor]
    covariance: dict[str, Tensor]


def gather(names: tuple[str, ...], steps: int, rate: float = 2e-3, decay: float = 0.95) -> Gathered:
    """Train the model by AdamW, and gather the matrices of the named weights on the way."""
    corpus = load_corpus()
    model = build_model(corpus)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    weights = {name: model.get_parameter(name) for name in names}
    momentum = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    covariance = {name: weight.new_zeros(weight.shape[1:] * 2) for name, weight in weights.items()}
    for step in range(steps):
        loss = text_loss(model, sample_batch(corpus.training, seed=step))
        optimizer.zero_grad()
        loss.backward()
        for name, weight in weights.items():
            momentum[name].lerp_(weight.grad, 1 - decay)
            covariance[name].addmm_(weight.grad.T, weight.grad)
        optimizer.step()
        show_progress(step + 1, steps, f"loss {loss.item():.3f}")
    note(f"validation loss {validation_loss(model, corpus):.3f} nats per character")
    return Gathered(momentum, covariance)
