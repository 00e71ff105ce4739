"""What a rule sees of a spectrum: images of a start block under polynomials of the residual.

One probe looks at matrices through a sketch, the other at known eigenvalues. Inner products of their blocks
are moments: ⟨V_i, V_j⟩ = Re tr(S f_i(R) f_j(R)ᴴ Sᵀ), q times the trace in the mean. Rows are sketched, not
columns, so that the blocks of one matrix lie end to end in memory; ‖S h(R)‖ estimates ‖h(R)‖_F whether or
not R is symmetric or Hermitian. S is real, whatever the matrices are.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from . import labels
from .basis import Basis
from .linear_algebra import parts_of, plus_product


@dataclass(frozen=True)
class Probe(ABC):
    """The blocks of one step.

    first, second: [S; 0] and [0; S], `[2q, n]`, of the start block S: the pair [S; S R] is one product of the
    second that adds the first, and what follows takes pairs to pairs.
    """

    basis: Basis
    first: Tensor
    second: Tensor

    @abstractmethod
    def first_pair(self) -> Tensor:
        """first + second R, `[b, 2q, n]`."""

    @abstractmethod
    def product(self, V: Tensor, M: Tensor, c: float, d: float) -> Tensor:
        """c V + d V M, for V `[b, q, n]`."""

    def pairs(self, count: int, c: float = 0.0, d: float = 1.0) -> list[Tensor]:
        """[S; S R], and of each pair V the next, c V + d V Q: `[b, 2q, n]`, count in number."""
        with labels.phase("sketch"):
            pairs = [self.first_pair()]
            while len(pairs) < count:
                assert self.basis.quadratic is not None
                pairs.append(self.product(pairs[-1], self.basis.quadratic, c, d))
        return pairs

    def powers(self, count: int) -> list[Tensor]:
        """S R^j for j < count, each `[b, q, n]`; for Q = R², which where formed halves the products."""
        q = self.first.shape[0] // 2
        if self.basis.quadratic is not None:
            return [block for pair in self.pairs(count // 2) for block in parts_of(pair, (q, q), 1)]
        blocks = list(parts_of(self.pairs(1)[0], (q, q), 1))
        with labels.phase("sketch"):
            while len(blocks) < count:
                blocks.append(self.product(blocks[-1], self.basis.residual, 0.0, 1.0))
        return blocks


class SketchProbe(Probe):
    """Matrices `[b, n, n]` seen through random signs."""

    def first_pair(self) -> Tensor:
        R = self.basis.residual
        b = R.shape[0]
        return plus_product(self.first, self.second.expand(b, -1, -1), R)

    def product(self, V: Tensor, M: Tensor, c: float, d: float) -> Tensor:
        if c == 0 and d == 1:
            return torch.bmm(V, M)
        return plus_product(V, V, M, c, d)


class SpectrumProbe(Probe):
    """Known residuals `[1, 1, n]`, of which any signs give exact moments."""

    def first_pair(self) -> Tensor:
        return self.first + self.second * self.basis.residual

    def product(self, V: Tensor, M: Tensor, c: float, d: float) -> Tensor:
        return V * (c + d * M)
