"""Half precision: polar runs in it, everything else is computed in float32."""

from functools import cache, partial

import pytest
import torch

from prism_compile import polar

from .functions import FUNCTIONS, sample, tensors
from .matrices import (
    generator,
    log_spaced,
    rms_orthogonality,
    with_singular_values,
)

HALF = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])


def spectra(n: int) -> dict[str, torch.Tensor]:
    index = torch.arange(1, n + 1, dtype=torch.float64)
    return {
        "flat": torch.ones(n, dtype=torch.float64),
        "log 1e-3": log_spaced(n, 1e3),
        "log 1e-6": log_spaced(n, 1e6),
        "harmonic": 1 / index,
        "clusters": torch.where(index > n / 2, 0.01, 1.0),
        "spike": torch.where(index == 1, 1.0, 1e-3),
        "low rank": torch.where(index < n / 8, 1.0, 0.0),
    }


# The residual of a rounded X is a sum of n products of relative error eps: √(mean) about eps/2 per entry
# of XᵀX, i.e. 0.5·eps·√n/√n. Measured floors are 2e-3 and 2e-4; the bars are twice that. It is asked of
# the values that the type carries, above its eps: A's rounding makes the others what they are. A mean over
# few of them is not as even: eps.
@pytest.mark.parametrize(("dtype", "floor"), [(torch.bfloat16, 4e-3), (torch.float16, 5e-4)])
@pytest.mark.parametrize("n", [48, 160])
@pytest.mark.parametrize("rule", ["adaptive", "prism", "taylor"])
def test_polar_is_stable_for_20_steps(n, dtype, floor, rule):
    for name, values in spectra(n).items():
        A = with_singular_values(values, n, n).to(dtype)
        U, history = polar(A, steps=20, history=True, rule=rule)
        assert U.dtype == dtype
        assert history.residual.dtype == torch.float32
        assert torch.linalg.svdvals(U.float()).max() < 1.25, name
        eps = torch.finfo(dtype).eps
        carried = int((values > eps).sum())
        assert (torch.linalg.svdvals(U.double())[:carried].square() - 1).square().mean().sqrt() < eps, name
        if carried == n:
            assert history.residual[-1] < floor, name
            assert rms_orthogonality(U) < floor, name


# A signal of rank 8 over noise: seeds of one size as one batch.
SIGNALS = {32: 50, 128: 20, 512: 2}


@cache
def signals(n: int) -> torch.Tensor:
    made = []
    for seed in range(SIGNALS[n]):
        random = partial(torch.randn, dtype=torch.float64, generator=generator(seed))
        made.append(random(n, 8) @ random(8, n) + 0.3 * random(n, n))
    return torch.stack(made)


# The large one for the rules whose first step is the steepest.
LARGE = [("adaptive", "schatten", 512), ("polar_express", "frobenius", 512)]
CASES = [
    (rule, scaling, n)
    for rule in ("adaptive", "prism", "taylor", "polar_express", "jordan", "you")
    for scaling in ("schatten", "frobenius")
    for n in SIGNALS
    if n < 512
]


@HALF
@pytest.mark.parametrize(("rule", "scaling", "n"), CASES + LARGE)
def test_half_precision_exceeds_no_singular_value_of_exact_arithmetic(rule, scaling, n, dtype):
    largest = []
    for A in (signals(n).to(dtype), signals(n)):
        U = polar(A, rule=rule, scaling=scaling, steps=5)
        largest.append(torch.linalg.matrix_norm(U.double(), 2).max().item())
    assert largest[0] <= 1.02 * largest[1]


@HALF
@pytest.mark.parametrize("name", [name for name in FUNCTIONS if not name.startswith("polar")])
def test_others_are_computed_in_float32_and_rounded(name, dtype):
    A = sample(name, 2).to(dtype)
    result, history = FUNCTIONS[name](A, history=True)
    expected = FUNCTIONS[name](A.float())
    for part, reference in zip(tensors(result), tensors(expected)):
        assert part.dtype == dtype
        assert torch.equal(part, reference.to(dtype))
    assert history.residual.dtype == torch.float32


@pytest.mark.parametrize("name", FUNCTIONS)
def test_autocast_changes_nothing(name):
    A = sample(name).float()
    expected = tensors(FUNCTIONS[name](A))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = tensors(FUNCTIONS[name](A))
    assert all(map(torch.equal, result, expected))
