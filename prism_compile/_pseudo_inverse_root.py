"""Pseudo-inverse p-th root of semidefinite matrices: the root of what lies above a level, made of two runs.

λ = the largest eigenvalue                          `_iteration/extremes.py`
P = (I + sign(A - rtol λ I))/2                      `_sign.py`
X = (P A P + λ (I - P))^(-1/p) P                    `_inverse_root.py`
"""

import torch
from torch import Tensor

from ._interface.op import exported_as_op
from ._interface.options import check_fraction, plan_of
from ._interface.results import History
from ._interface.run import run
from ._inverse_root import RootForm, RootState
from ._iteration.extremes import largest_eigenvalue
from ._iteration.linear_algebra import identity_like, symmetric
from ._iteration.loop import iterate
from ._iteration.rule import Options
from ._iteration.scaling import nonzero, relative_asymmetry, relative_norm
from ._sign import SignForm


class PseudoRootForm(RootForm):
    """The root of A above the level, of the largest eigenvalue below, times the projector on the former."""

    name = "pinv_root"
    rule = "minimax"

    def __init__(self, A: Tensor, options: Options):
        super().__init__(A, options)
        assert options.interval is not None
        # Eigenvalues at half the level and at twice it are told from it; those between are kept in part.
        plan = plan_of(SignForm, 2, options.degree, self.rule, None)
        steps, interval = plan.steps_and_interval(2 / options.rtol, options.interval[1])
        # The rule anew: in a dual backward pass that of the options holds the coefficients of the root's run.
        self.signs = options._replace(p=2, steps=steps, interval=interval, rule=plan.rule, history=False)
        self.projector = A

    def prepare(self, A: Tensor) -> tuple[Tensor, Tensor]:
        A, scale = super().prepare(A)
        identity, top = identity_like(A), nonzero(largest_eigenvalue(A))
        shifted = A - self.signs.rtol * top * identity
        ((sign,), _) = iterate(SignForm(A, self.signs), shifted, self.signs)
        self.projector = (identity + symmetric(sign)) / 2
        kept = torch.bmm(torch.bmm(self.projector, A), self.projector)
        return symmetric(kept) + top * (identity - self.projector), scale

    def results(self, state: RootState, magnitude: Tensor, bound: Tensor) -> tuple[Tensor, ...]:
        # Of a zero matrix the projector is zero, and so is the root.
        (root,) = super().results(state, nonzero(magnitude), bound)
        return (symmetric(torch.bmm(root, self.projector)),)

    @staticmethod
    def deviation(A: Tensor, scale: Tensor, p: int, *results: Tensor) -> tuple[Tensor, Tensor]:
        X = results[0] * nonzero(scale) ** (1 / p)
        power = X
        for _ in range(p):
            power = torch.bmm(power, X)
        return relative_norm(X - torch.bmm(power, A), X), relative_asymmetry(X)


@exported_as_op()
def pinv_root(
    A: Tensor,
    p: int,
    *,
    rtol: float,
    tol: float = 1e-4,
    gradient: str = "unrolled",
    history: bool = False,
) -> Tensor | tuple[Tensor, History]:
    """Pseudo-inverse p-th root of a symmetric or Hermitian positive semidefinite matrix.

    V f(Λ) Vᴴ for A = V Λ Vᴴ, with f(λ) = λ^(-1/p) above the level rtol·max λ and 0 below: the root of A on
    the range of the projector P = (I + sign(A - rtol·max λ·I))/2.

    Args:
        A: `[..., n, n]`, symmetric or Hermitian, float64, float32, complex128, complex64, bfloat16 or float16
            (half precision is computed in float32; on TF32 see `polar`). Negative eigenvalues count as zero.
        p: order of the root, an int ≥ 1: 1 for the pseudo-inverse, 2 for whitening.
        rtol: level below which eigenvalues count as zero, relative to the largest, which is known to within
            n^(1/64), in (0, 1). An eigenvalue between half the level and twice it is kept in part. In float32
            choose 8nε and more, with ε the machine epsilon of the type that A was formed in.
        tol: what is to be reached, relative to each eigenvalue, in (0, 1); rounding, ε/rtol, comes on top.
        gradient, history: see `polar`. The derivative is that at constant rank.

    Returns:
        A^(+1/p) `[..., n, n]`; with `history`, `(root, History)`, of the steps of the root; zero of a zero A.

    Cost: steps for a sign to `tol` at condition 2/rtol, 3 products of n·n·n each, and as many steps as
        `inv_root` takes at condition 1/rtol, and 10 products; for p = 2, rtol = tol = 1e-3, 64 in all.

    Source: Higham, Functions of Matrices, ch. 5 (projectors by the sign); the two runs as in `signm` and
        `inv_root`.

    Example:
        >>> import torch, prism_compile
        >>> x = torch.randn(8, 3)
        >>> W = prism_compile.pinv_root(x @ x.mT, 2, rtol=1e-3)
        >>> torch.allclose(x.mT @ W @ W @ x, torch.eye(3), atol=1e-3)
        True
    """
    # What is told from the level at half of it bounds what is left of the condition.
    rtol = check_fraction("rtol", rtol)
    condition = 2 / rtol
    return run(PseudoRootForm, **locals())
