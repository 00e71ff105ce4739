"""Random sign sketches from a counter-based generator that lives inside the graph.

A hash of an `arange` depends on nothing but its arguments: eager, compiled and exported runs agree,
torch's generator is not touched, and Inductor fuses the whole thing into one kernel.
Hash: the two-round 32-bit mixer of C. Wellons' "hash prospector" search.
"""

import torch
from torch import Tensor

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
    index = torch.arange(sketch_size * n, device=device)
    words = mix32((index * 0x9E3779B1 + key) & _MASK)
    return words.reshape(sketch_size, n)


def sketches(
    n: int, sketch_size: int, steps: int, seed: int, dtype: torch.dtype, device: torch.device
) -> list[Tensor]:
    """The sign sketches of a run, one `[sketch_size, n]` with entries ±1 for each step.

    Bit k of a hashed word serves step k, so that one hash lasts 32 steps.
    """
    words = [
        hashed_words(n, sketch_size, block, seed, device) for block in range(-(-steps // _STEPS_PER_HASH))
    ]
    signs = []
    for step in range(steps):
        block, bit = divmod(step, _STEPS_PER_HASH)
        signs.append((1 - 2 * ((words[block] >> bit) & 1)).to(dtype))
    # Inductor keeps a stack in memory, made by one kernel; single sketches it would compute anew at each use.
    return list(torch.stack(signs).unbind())
