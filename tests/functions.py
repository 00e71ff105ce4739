"""The eight functions in one table, for the tests that hold of all of them, and what they all ask."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

import prism_compile as pc

from .matrices import alternating, gaussian, spd, widest

FUNCTIONS: dict[str, Callable] = {
    "polar": pc.polar,
    "polar_factors": pc.polar_factors,
    "signm": pc.signm,
    "sqrtm": pc.sqrtm,
    "inv_sqrtm": pc.inv_sqrtm,
    "sqrtm_pair": pc.sqrtm_pair,
    "inv_root": partial(pc.inv_root, p=3),
    "inv": pc.inv,
}

# The same as operators: torch.ops.prism.*.
OPS: dict[str, Callable] = {
    name: partial(torch.ops.prism.inv_root, p=3) if name == "inv_root" else getattr(torch.ops.prism, name)
    for name in FUNCTIONS
}

CALLS = FUNCTIONS | {f"op {name}": op for name, op in OPS.items()}


class Module(torch.nn.Module):
    """A call as what can be exported."""

    def __init__(self, call: Callable):
        super().__init__()
        self.call = call

    def forward(self, A: Tensor):
        return self.call(A)


def sample(name: str, *batch: int, n: int = 12, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Well-conditioned input for a function, `[*batch, n (or n + 4), n]`."""
    if name.startswith("polar"):
        return gaussian(*batch, n + 4, n, seed=seed, dtype=dtype)
    A = spd(n, 20.0, seed, widest(dtype))
    if name == "signm":
        # A sign that is not the identity, of a matrix that is not symmetric.
        A = A @ torch.diag(alternating(n)).to(A.dtype)
    return (A.expand(*batch, n, n) * (1 + gaussian(*batch, 1, 1, seed=seed).abs())).to(dtype)


def tensors(result) -> tuple[Tensor, ...]:
    """The tensors of a result, named tuple or not."""
    return tuple(result) if isinstance(result, tuple) else (result,)


def equal(result, expected) -> bool:
    """Whether two results are the same to the bit."""
    return all(map(torch.equal, tensors(result), tensors(expected)))


def assert_close(result, expected, atol: float = 1e-12) -> None:
    torch.testing.assert_close(tensors(result), tensors(expected), rtol=0, atol=atol)
