"""Tables that do not converge, and runs that have not yet: the published quintics of the singular values."""

import pytest
import torch

from ..functions import tensors
from ..matrices import F64, relative_errors, widest
from ..rules.published import PUBLISHED, SAFETY
from .cases import FUNCTIONS, HALF, HALF_ROUNDINGS, IN_DTYPES, ROUNDINGS, decomposed, made, shapes

OF_ORDER_TWO = [n for n, f in FUNCTIONS.items() if f.p == 2 and not n.startswith(("inv_root", "left"))]
STEPS = (1, 3, 6, 11)


def reached(x: torch.Tensor, rule: str, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What the values become, and the slope of that."""
    slope = torch.ones_like(x)
    for k in range(steps):
        a, b, c = PUBLISHED[rule][min(k, len(PUBLISHED[rule]) - 1)]
        slope = slope * (a + 3 * b * x**2 + 5 * c * x**4)
        x = a * x + b * x**3 + c * x**5
    return x, slope


def exact(name: str, A: torch.Tensor, rule: str, steps: int):
    """Of A = W diag(s) Vᴴ, with x what s, or the root of an eigenvalue, has become: results and tolerances.

    In units of roundings: a change of A by ε‖A‖ moves x by ε times the largest slope between zero and A's own
    norm, over the root of κ where x is a root, and the roots again by that of the values they are made of.
    """
    W, values, V = decomposed(FUNCTIONS[name].kind, A)
    kappa = values.abs().amax(-1) / values.abs().amin(-1)
    squared = FUNCTIONS[name].kind == "definite"
    start = values / torch.linalg.vector_norm(values, dim=-1, keepdim=True)
    margin = SAFETY if rule == "polar_express" else 1.0
    start = (start.sqrt() if squared else start) / margin
    x, _ = reached(start, rule, steps)
    between = start.abs().amax(-1, keepdim=True) * torch.linspace(0, 1, 500, dtype=F64)
    enlarged = reached(between, rule, steps)[1].abs().amax(-1) / torch.linalg.vector_norm(x, dim=-1)
    enlarged = enlarged.clamp(min=1)
    if name.startswith("polar"):
        results = ((W * x.unsqueeze(-2)) @ V.mH, (V * (x * values).unsqueeze(-2)) @ V.mH)
        return results[: len(FUNCTIONS[name].powers)], (enlarged, enlarged)
    if name == "signm":
        return ((W * x.unsqueeze(-2)) @ W.mH,), (enlarged,)
    root = values.sqrt()
    # The pair is x and 1/x times A's roots, where x is to be one.
    pair = [(W * f.unsqueeze(-2)) @ W.mH for f in (x * root, x / root)]
    units = [enlarged * kappa**0.5, enlarged * kappa]
    chosen = {"sqrtm": slice(0, 1), "inv_sqrtm": slice(1, 2), "sqrtm_pair": slice(0, 2)}[name]
    return pair[chosen], units[chosen]


@IN_DTYPES
@pytest.mark.parametrize("rule", PUBLISHED)
@pytest.mark.parametrize("name", OF_ORDER_TWO)
def test_published_quintics(name, rule, dtype, device):
    polar = name.startswith("polar")
    native = dtype not in HALF or polar
    unit = torch.finfo(dtype if native else torch.float32).eps
    unit *= HALF_ROUNDINGS if native and dtype in HALF else ROUNDINGS
    final = 0 if native else torch.finfo(dtype).eps / 2
    for m, n in shapes(name, rule):
        A = made(FUNCTIONS[name].kind, m, n, dtype)
        for steps in STEPS:
            options = {"form": "direct"} if polar else {}
            result = FUNCTIONS[name].call(A.to(device), rule=rule, steps=steps, **options)
            expected, units = exact(name, A, rule, steps)
            for part, other, enlarged in zip(tensors(result), expected, units):
                ratio = relative_errors(part.cpu().to(widest(dtype)), other) / (unit * enlarged + final)
                assert (ratio <= 1).all(), f"{ratio.max():.3g} times the tolerance after {steps} steps"
