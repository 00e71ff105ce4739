"""The sketch: signs from a counter-based generator."""

import math

import pytest
import torch
from torch._inductor.index_propagation import IndexPropagation

from prism_compile._rules.prism import sketches

from ..matrices import F64

CPU = torch.device("cpu")


def signs(n: int, q: int, steps: int, seed: int, dtype: torch.dtype = F64) -> torch.Tensor:
    """The sketches of a run, `[steps, q, n]`, without the zeros about them."""
    above, _ = sketches(n, q, steps, seed, dtype, CPU)
    return torch.stack(list(above))[:, :q]


def test_depends_on_seed_and_step_only():
    def draw(seed, step):
        return signs(40, 4, step + 1, seed)[step]

    assert torch.equal(draw(3, 5), draw(3, 5))
    # 160 independent signs agree by chance in 80 ± 6.3 places: five deviations.
    for other in (draw(4, 5), draw(3, 6), draw(3, 37), draw(2**40 + 3, 5)):
        assert abs(int((draw(3, 5) == other).sum()) - 80) < 32


def test_signs_are_balanced_and_uncorrelated():
    # N(0, 1) statistics: means of 2e5 signs, and 7·64 correlations over 400 columns.
    stack = signs(400, 64, 8, 1)
    assert abs(stack.mean().item()) * math.sqrt(stack.numel()) < 5
    across = (stack[:-1] * stack[1:]).mean(dim=-1) * math.sqrt(400)
    assert across.abs().max() < 5
    within = stack[0] @ stack[0].T / 400 - torch.eye(64, dtype=F64)
    assert within.abs().max() * math.sqrt(400) < 5


@pytest.mark.parametrize("dynamic", [False, True])
def test_no_index_holds_more_than_31_bits(dynamic, monkeypatch):
    """Inductor writes arithmetic on an `arange` as arithmetic on indices, which are int32 on a GPU."""
    literals = [0]
    materialize = IndexPropagation.materialize_expr

    def watched(self, expr, dtype):
        if getattr(expr, "free_symbols", None):
            literals.extend(abs(int(number)) for number in expr.atoms() if number.is_Integer)
        return materialize(self, expr, dtype)

    monkeypatch.setattr(IndexPropagation, "materialize_expr", watched)
    torch._dynamo.reset()
    drawn = torch.compile(lambda A: sketches(A.shape[-1], 4, 3, 5, A.dtype, A.device)[0][2], dynamic=dynamic)
    with torch._inductor.utils.fresh_cache():
        found = drawn(torch.empty(2, 24))
    assert torch.equal(found, sketches(24, 4, 3, 5, torch.float32, CPU)[0][2])
    assert len(literals) > 1
    assert max(literals) < 2**31
