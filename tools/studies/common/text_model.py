"""A small causal character-level transformer, and the real text that it learns: Python's own manual.

The text is `pydoc_data.topics`, which every Python has. Batches depend on nothing but their seed.
"""

from dataclasses import dataclass
from importlib import import_module

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Corpus:
    """A text as character numbers, its last tenth held out."""

    alphabet: str
    training: Tensor
    validation: Tensor


@dataclass(frozen=True)
class ModelShape:
    """Sizes of the transformer; every weight but the norms' is a matrix."""

    alphabet_size: int
    context: int = 64
    width: int = 128
    heads: int = 4
    layers: int = 2
    hidden: int = 512


def load_corpus() -> Corpus:
    """The joined topics, in the order of their names."""
    topics: dict[str, str] = import_module("pydoc_data.topics").topics
    text = "\n".join(topics[name] for name in sorted(topics))
    alphabet = "".join(sorted(set(text)))
    number = {character: i for i, character in enumerate(alphabet)}
    ids = torch.tensor([number[character] for character in text])
    held_out = len(ids) // 10
    return Corpus(alphabet, ids[:-held_out], ids[-held_out:])


def sample_batch(ids: Tensor, seed: int, batch_size: int = 32, context: int = 64) -> tuple[Tensor, Tensor]:
    """Inputs and targets `[batch_size, context]` from random places of a text."""
    generator = torch.Generator().manual_seed(seed)
    starts = torch.randint(len(ids) - context, (batch_size, 1), generator=generator)
    windows = ids[(starts + torch.arange(context + 1)).to(ids.device)]
    return windows[:, :-1], windows[:, 1:]


class Attention(nn.Module):
    """Causal self-attention."""

    def __init__(self, shape: ModelShape):
        super().__init__()
        self.heads = shape.heads
        self.qkv = nn.Linear(shape.width, 3 * shape.width, bias=False)
        self.out = nn.Linear(shape.width, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.out(mixed.transpose(1, 2).flatten(-2))


class Mlp(nn.Module):
    """Two layers with a GELU between."""

    def __init__(self, shape: ModelShape):
        super().__init__()
        self.up = nn.Linear(shape.width, shape.hidden, bias=False)
        self.down = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(functional.gelu(self.up(x)))


class Block(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, shape: ModelShape):
        super().__init__()
        self.attention_norm = nn.RMSNorm(shape.width)
        self.attention = Attention(shape)
        self.mlp_norm = nn.RMSNorm(shape.width)
        self.mlp = Mlp(shape)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class CharTransformer(nn.Module):
    """Logits `[batch, time, alphabet]` of the next character from ids `[batch, time]`."""

    def __init__(self, shape: ModelShape):
        super().__init__()
        self.characters = nn.Embedding(shape.alphabet_size, shape.width)
        self.positions = nn.Embedding(shape.context, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width)
        self.head = nn.Linear(shape.width, shape.alphabet_size, bias=False)
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
        shape = ModelShape(len(corpus.alphabet), width=width, hidden=4 * width)
        return CharTransformer(shape).to(corpus.training.device)


def text_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Mean cross-entropy per character, in nats."""
    inputs, targets = batch
    return functional.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())


@torch.no_grad()
def validation_loss(model: nn.Module, corpus: Corpus, batches: int = 8) -> float:
    """Loss on fixed batches of the held-out text."""
    losses = [text_loss(model, sample_batch(corpus.validation, seed)) for seed in range(batches)]
    return torch.stack(losses).mean().item()
