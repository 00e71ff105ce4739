"""Pseudo-inverse p-th root of semidefinite matrices: the root of what lies above a level, made of two runs.

    λ = the largest eigenvalue                          `_iteration/extremes.py`
    P = (I + sign(A - rtol λ I))/2                      `_sign.py`
    X = (P A P + rtol λ (I - P))^(-1/p) P               `_inverse_root.py`

Both runs are of the rule "minimax", in as many steps as the level needs.
"""

import torch
from torch import Tensor

from ._interface.op import exported_as_op
from ._interface.options import Plan, check_fraction, check_order, plan_of
from ._interface.results import History
from ._interface.run import run
from ._inverse_root import RootForm, RootState
from ._iteration.extremes import largest_eigenvalue
from ._iteration.linear_algebra import identity_like, symmetric
from ._iteration.loop import iterate
from ._iteration.rule import Options
from ._iteration.scaling import nonzero, relative_asymmetry, relative_norm
from ._sign import SignForm

# What eigenvalues beyond the level's neighbours are brought to; those well beyond it reach rounding.
_TOL = 1e-6
# From so many steps on a table reaches rounding, and so has a derivative.
_LEAST_STEPS = 8


def _steps(plan: Plan, rtol: float) -> int:
    # Eigenvalues at half the level and at twice it are told from it; those between are kept in part.
    return max(_LEAST_STEPS, plan.steps_and_interval(2 / rtol, _TOL)[0])


class PseudoRootForm(RootForm):
    """The root of A above the level, of the level below, times the projector on the former.

    Of the level, so that what the projector is off by is small beside the least eigenvalue that is kept.
    """

    name = "pinv_root"
    rule = "minimax"
    # Of the batch that `prepare` was given.
    projector: Tensor

    def __init__(self, A: Tensor, options: Options):
        super().__init__(A, options)
        plan = plan_of(SignForm, 2, options.degree, self.rule, None)
        # The rule anew: in a dual backward pass that of the options holds the coefficients of the root's run.
        steps = _steps(plan, options.rtol)
        self.signs = options._replace(p=2, steps=steps, rule=plan.rule, history=False)

    def prepare(self, A: Tensor) -> tuple[Tensor, Tensor]:
        A, scale = super().prepare(A)
        identity = identity_like(A)
        level = self.signs.rtol * nonzero(largest_eigenvalue(A))
        ((sign,), _) = iterate(SignForm(A, self.signs), A - level * identity, self.signs)
        self.projector = (identity + symmetric(sign)) / 2
        kept = torch.bmm(torch.bmm(self.projector, A), self.projector)
        return symmetric(kept) + level * (identity - self.projector), scale

    def results(self, state: RootState, magnitude: Tensor, bound: Tensor) -> tuple[Tensor, ...]:
        # Of a zero matrix the projector is zero, and so is the root.
        (root,) = super().results(state, nonzero(magnitude), bound)
        return (symmetric(torch.bmm(root, self.projector)),)

    @staticmethod
    def deviation(A: Tensor, scale: Tensor, p: int, *results: Tensor) -> tuple[Tensor, Tensor]:
        X = results[0] * nonzero(scale) ** (1 / p)
        again = torch.bmm(torch.linalg.matrix_power(X, p + 1), A)
        return relative_norm(X - again, X), relative_asymmetry(X)


@exported_as_op()
def pinv_root(
    A: Tensor,
    p: int,
    *,
    rtol: float,
    gradient: str = "unrolled",
    history: bool = False,
) -> Tensor | tuple[Tensor, History]:
    """Pseudo-inverse p-th root of a symmetric or Hermitian positive semidefinite matrix.

    V f(Λ) Vᴴ for A = V Λ Vᴴ, with f(λ) = λ^(-1/p) above the level rtol·max λ and 0 below: the root of A on
    the range of the projector P = (I + sign(A - rtol·max λ·I))/2.

    Args:
        A: `[..., n, n]`, symmetric or Hermitian, float64, float32, complex128, complex64, bfloat16 or float16
            (half precision is computed in float32; on TF32 see `polar`). Negative eigenvalues count as zero;
            none may be larger in absolute value than the largest.
        p: order of the root, an int ≥ 1: 1 for the pseudo-inverse, 2 for whitening.
        rtol: level below which eigenvalues count as zero, relative to the largest, which is known to within
            n^(1/64), in (0, 1). An eigenvalue between half the level and twice it is kept in part, others are
            off by 1e-6 and ε/rtol of rounding. Choose 8nε and more, with ε the machine epsilon of the type
            that A was formed in.
        gradient, history: see `polar`. The derivative is that at constant rank.

    Returns:
        A^(+1/p) `[..., n, n]`; with `history`, `(root, History)`, of the steps of the root; zero of a zero A.

    Cost: `signm`'s and `inv_root`'s for the steps that `steps_for` says by "minimax" for condition 2/rtol
        and tol 1e-6, at least 8, and 10 products of n·n·n.

    Source: Higham, Functions of Matrices, ch. 5 (projectors by the sign); the two runs as in `signm` and
        `inv_root`.

    Example:
        >>> import torch, prism_compile
        >>> x = torch.randn(8, 3)
        >>> W = prism_compile.pinv_root(x @ x.mT, 2, rtol=1e-3)
        >>> torch.allclose(x.mT @ W @ W @ x, torch.eye(3), atol=1e-3)
        True
    """
    rtol = check_fraction("rtol", rtol)
    steps = _steps(plan_of(PseudoRootForm, check_order(PseudoRootForm, p), 2, None, None), rtol)
    return run(PseudoRootForm, **locals())
