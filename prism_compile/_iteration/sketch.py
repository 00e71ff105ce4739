"""Random sign sketches from a counter-based generator that lives inside the graph.

A hash of an `arange` depends on nothing but its arguments: eager, compiled and exported runs agree,
torch's generator is not touched, and Inductor fuses the whole thing into one kernel.
Hash: the two-round 32-bit mixer of C. Wellons' "hash prospector" search.
"""

import torch
from torch import Tensor

from .._torch import parts_of, unbound

_MASK = 2**32 - 1
_STEPS_PER_HASH = 32


def mix32(x: Tensor) -> Tensor:
    """Mix int64 values holding 32-bit words; the multipliers are small enough to stay exact."""
    x = ((x ^ (x >> 16)) * 0x21F0AAAD) & _MASK
    x = ((x ^ (x >> 15)) * 0x735A2D97) & _MASK
    return x ^ (x >> 15)


def hashed_words(n: int, sketch_size: int, block: int, seed: int, device: torch.device) -> Tensor:
    """32 random bits for each entry of a sketch, `[sketch_size, n]` int64."""
    key = (seed * 0x85EBCA77 + (seed >> 32) * 0x27D4EB2F + block * 0xC2B2AE3D) % 2**32
    # Inductor keeps arithmetic on an arange as one on indices, which have 32 bits on a GPU; an AND ends it.
    index = torch.arange(sketch_size * n, device=device) & _MASK
    words = mix32((index * 0x9E3779B1 + key) & _MASK)
    return words.reshape(sketch_size, n)


def sketches(
    n: int, sketch_size: int, steps: int, seed: int, dtype: torch.dtype, device: torch.device
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The sign sketches S of a run, one for each step, as [S; 0] and as [0; S], `[2·sketch_size, n]` each.

    Bit k of a hashed word serves step k, so that one hash lasts 32 steps. The zeros let one product give S
    and its image, see `krylov_blocks`; that they are made here, for all steps, spares a kernel a step.
    """
    signs = []
    for first in range(0, steps, _STEPS_PER_HASH):
        words = hashed_words(n, sketch_size, first // _STEPS_PER_HASH, seed, device)
        bits = torch.arange(min(_STEPS_PER_HASH, steps - first), device=device)[:, None, None]
        # `words >> bits` is another operator, which ONNX has not.
        signs.append(1 - 2 * (torch.bitwise_right_shift(words, bits) & 1))
    S = (signs[0] if len(signs) == 1 else torch.cat(signs)).to(dtype)
    # One tensor of rows 0, S, 0 holds both.
    rows = torch.nn.functional.pad(S, (0, 0, sketch_size, sketch_size))
    above = parts_of(rows, (sketch_size, 2 * sketch_size), 1)[1]
    return unbound(above), unbound(rows[:, : 2 * sketch_size])
