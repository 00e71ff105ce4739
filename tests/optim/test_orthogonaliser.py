"""Polar factors for optimizers that others write."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from prism_compile.optim import Orthogonaliser

from ..matrices import gaussian, svd_polar

SHAPES = [(9, 6), (6, 9), (8, 8), (9, 6), (4, 3, 2), (1, 1)]
# Converged in float64: rounding by n·eps, times the condition, below 1e4 here.
TOLERANCE = {"rtol": 0, "atol": 1e-10}


def values(dtype=torch.float64) -> list[torch.Tensor]:
    return [gaussian(*shape, seed=i, dtype=dtype) for i, shape in enumerate(SHAPES)]


def test_factors_are_those_of_the_svd_and_nothing_is_written_to():
    given = values()
    kept = [value.clone() for value in given]
    found = Orthogonaliser(steps=14, compile=False)(given)
    for factor, value, before in zip(found, given, kept, strict=True):
        wanted = svd_polar(value.reshape(len(value), -1)).reshape(value.shape)
        torch.testing.assert_close(factor, wanted, **TOLERANCE)
        assert torch.equal(value, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dtypes_are_kept(dtype):
    for factor, value in zip(
        Orthogonaliser(steps=8, dtype=torch.float32, compile=False)(values(dtype)), values()
    ):
        assert factor.dtype == dtype
        wanted = svd_polar(value.to(dtype).double().reshape(len(value), -1)).reshape(value.shape)
        # The value's own rounding moves nothing, as the oracle has it too; the factor's does, by eps/2 at 1,
        # and the iteration in float32 by its condition (below 100 here) times n·eps.
        assert (factor.double() - wanted).abs().max() < torch.finfo(dtype).eps / 2 + 1e-4


def test_one_graph_a_batch_and_none_for_the_next_call():
    counter = CompileCounter()
    orthogonalise = Orthogonaliser(steps=2, compile={"backend": counter})
    for _ in range(3):
        orthogonalise(values())
    # [9, 6] with its transpose and twin, [8, 8], [4, 6] and [1, 1].
    assert counter.frame_count == 4


def test_a_generator_is_read_once_and_whole():
    orthogonalise = Orthogonaliser(steps=2, compile=False)
    found = orthogonalise(value for value in values())
    for factor, other in zip(found, orthogonalise(values()), strict=True):
        assert torch.equal(factor, other)


def test_empty_updates_stay_empty():
    found = Orthogonaliser(steps=8, compile=False)([torch.empty(0, 4), torch.eye(2)])
    assert found[0].shape == (0, 4)
    torch.testing.assert_close(found[1], torch.eye(2), rtol=0, atol=1e-5)
    assert Orthogonaliser(compile=False)([]) == []
