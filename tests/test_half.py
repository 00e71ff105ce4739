"""Half precision: polar runs in it, everything else is computed in float32."""

from functools import partial

import pytest
import torch

from prism_compile import polar

from .functions import FUNCTIONS, sample, tensors
from .matrices import F64, generator, log_spaced, rms_orthogonality, with_singular_values

HALF = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])


def spectra(n: int) -> dict[str, torch.Tensor]:
    index = torch.arange(1, n + 1, dtype=F64)
    return {
        "flat": torch.ones(n, dtype=F64),
        "log 1e-3": log_spaced(n, 1e3),
        "log 1e-6": log_spaced(n, 1e6),
        "clusters": torch.where(index > n / 2, 0.01, 1.0).to(F64),
        "spike": torch.where(index == 1, 1.0, 1e-3).to(F64),
        "low rank": torch.where(index < n / 8, 1.0, 0.0).to(F64),
    }


# The residual of a rounded X is a sum of n products of relative error eps: √(mean) about eps/2 per entry
# of XᵀX, i.e. 0.5·eps·√n/√n. Measured floors are 2e-3 and 2e-4; the bars are twice that. It is asked of
# the values that the type carries, above its eps: A's rounding makes the others what they are. A mean over
# few of them is not as even: eps.
@pytest.mark.parametrize(("dtype", "floor"), [(torch.bfloat16, 4e-3), (torch.float16, 5e-4)])
@pytest.mark.parametrize("rule", ["adaptive", "prism", "taylor"])
def test_polar_is_stable_for_20_steps(dtype, floor, rule):
    n, eps = 96, torch.finfo(dtype).eps
    for name, values in spectra(n).items():
        A = with_singular_values(values, n, n).to(dtype)
        U, history = polar(A, steps=20, history=True, rule=rule)
        assert (U.dtype, history.residual.dtype) == (dtype, torch.float32)
        reached, carried = torch.linalg.svdvals(U.double()), int((values > eps).sum())
        assert reached.max() < 1.25, name
        assert (reached[:carried].square() - 1).square().mean().sqrt() < eps, name
        if carried == n:
            assert max(history.residual[-1].item(), rms_orthogonality(U)) < floor, name


# A signal of rank 8 over noise: seeds of one size as one batch. The large one for the steepest first steps.
CASES = [
    *((rule, None, 20, 128) for rule in ("adaptive", "prism", "taylor", "polar_express", "jordan", "you")),
    *(("adaptive", "frobenius", 50, 32), ("polar_express", "schatten", 50, 32)),
    *(("adaptive", None, 2, 512), ("polar_express", None, 2, 512)),
]


@HALF
@pytest.mark.parametrize(("rule", "scaling", "count", "n"), CASES)
def test_half_precision_exceeds_no_singular_value_of_exact_arithmetic(rule, scaling, count, n, dtype):
    made, largest = [], []
    for seed in range(count):
        random = partial(torch.randn, dtype=F64, generator=generator(seed))
        made.append(random(n, 8) @ random(8, n) + 0.3 * random(n, n))
    for A in (torch.stack(made).to(dtype), torch.stack(made)):
        U = polar(A, rule=rule, scaling=scaling, steps=5)
        largest.append(torch.linalg.matrix_norm(U.double(), 2).max().item())
    assert largest[0] <= 1.02 * largest[1]


@HALF
@pytest.mark.parametrize("name", [name for name in FUNCTIONS if not name.startswith("polar")])
def test_others_are_computed_in_float32_and_rounded(name, dtype):
    A = sample(name, 2).to(dtype)
    result, history = FUNCTIONS[name](A, history=True)
    for part, reference in zip(tensors(result), tensors(FUNCTIONS[name](A.float()))):
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
