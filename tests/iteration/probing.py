"""Probes as a step makes them, for the tests of what is read from them."""

import torch
from prism_compile._iteration.probe import SketchProbe, SpectrumProbe

from prism_compile._iteration.basis import Basis, quadratic_of
from prism_compile._rules.prism import sketches

from ..matrices import F64

CPU = torch.device("cpu")


def signs(n: int, q: int, steps: int, seed: int, dtype: torch.dtype = F64) -> torch.Tensor:
    """The start blocks of a run, `[steps, q, n]`, without the zeros about them."""
    first, _ = sketches(n, q, steps, seed, dtype, CPU)
    return torch.stack(list(first))[:, :q]


def sketch_probe(R: torch.Tensor, q: int, shift: float | None) -> SketchProbe:
    """A probe of R `[b, n, n]`; shift: of the Q in the basis, None for none."""
    n = R.shape[-1]
    first, second = sketches(n, q, 1, 0, R.dtype, CPU)
    quadratic = None if shift is None else quadratic_of(R, -shift)
    return SketchProbe(Basis(torch.eye(n, dtype=R.dtype), R, quadratic), first[0], second[0])


def spectrum_probe(r: torch.Tensor, shift: float | None, q: int = 8) -> SpectrumProbe:
    """A probe of known residuals `[n]`."""
    r = r[None, None]
    first, second = sketches(r.shape[-1], q, 1, 0, r.dtype, CPU)
    quadratic = None if shift is None else r * (r - shift)
    return SpectrumProbe(Basis(torch.ones_like(r), r, quadratic), first[0], second[0])
