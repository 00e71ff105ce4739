"""Muon's options beyond torch's: heads of any size, NorMuon, cautious decay, momentum in half precision."""

import doctest

import pytest
import torch
from torch import nn

from prism_compile.optim import Muon

from ..matrices import gaussian, svd_polar
from .training import parameters, relative_difference, set_gradients, train

pytestmark = pytest.mark.usefixtures("one_thread")

EXACT = {"lr": 1.0, "weight_decay": 0.0, "momentum": 0.0, "ns_steps": 14, "dtype": None, "compile": False}


def step_of(param, **options) -> torch.Tensor:
    """By how much a step of rate one moves a parameter."""
    before = param.detach().clone()
    Muon([param], **{**EXACT, **options}).step()
    return before - param.detach()


def factor(matrix) -> torch.Tensor:
    m, n = matrix.shape
    return svd_polar(matrix) * max(1, m / n) ** 0.5


class TestHeads:
    @pytest.mark.parametrize(
        ("shape", "heads", "heads_by"),
        [
            # Queries, keys and values of grouped heads; a gate beside its projection, of other width.
            ((16, 6), (8, 4, 4), "rows"),
            ((16, 6), [12, 4], "rows"),
            ((6, 12), 3, "columns"),
            ((6, 12), (5, 7), "columns"),
            ((9, 6), (9,), "rows"),
            ((24, 16), 3, "rows"),
        ],
    )
    def test_each_head_is_a_matrix(self, shape, heads, heads_by):
        (param,) = parameters([shape], dtype=torch.float64)
        set_gradients([param], 0)
        dim = 1 if heads_by == "columns" else 0
        sizes = [shape[dim] // heads] * heads if isinstance(heads, int) else list(heads)
        expected = torch.cat([factor(head) for head in param.grad.split(sizes, dim)], dim)
        moved = step_of(param, heads=heads, heads_by=heads_by)
        torch.testing.assert_close(moved, expected, rtol=0, atol=1e-10)

    @pytest.mark.parametrize(("heads_by", "heads"), [("rows", (4, 6)), ("columns", (2, 4)), ("columns", 2)])
    def test_heads_of_stacks(self, heads_by, heads):
        experts = nn.Parameter(gaussian(3, 10, 6))
        experts.grad = gaussian(3, 10, 6, seed=1)
        dim = 1 if heads_by == "columns" else 0
        sizes = [3, 3] if heads == 2 else list(heads)
        expected = [torch.cat([factor(head) for head in e.split(sizes, dim)], dim) for e in experts.grad]
        moved = step_of(experts, flatten=False, heads=heads, heads_by=heads_by)
        torch.testing.assert_close(moved, torch.stack(expected), rtol=0, atol=1e-10)


class NorMuon:
    """NorMuon in float64 by its source's formulas, the norm of each update kept."""

    def __init__(self, param, beta2):
        self.beta2, self.second = beta2, torch.zeros(len(param), 1, dtype=torch.float64)

    def update(self, direction):
        O = factor(direction)  # noqa: E741  # the source's letter
        self.second = self.beta2 * self.second + (1 - self.beta2) * O.square().mean(1, keepdim=True)
        even = O / self.second.sqrt()
        return even * O.norm() / even.norm()


@pytest.mark.parametrize("shape", [(12, 5), (5, 12), (6, 3, 2)])
def test_rows_are_evened_out_by_their_second_moment(shape):
    (param,) = parameters([shape], dtype=torch.float64)
    reference = NorMuon(param, 0.9)
    options = {**EXACT, "weight_decay": 0.0}
    optimizer = Muon([param], beta2=0.9, **options)
    for seed in range(4):
        set_gradients([param], seed)
        before = param.detach().clone()
        optimizer.step()
        expected = reference.update(param.grad.flatten(1)).reshape(shape)
        torch.testing.assert_close(before - param, expected, rtol=0, atol=1e-10)
    assert optimizer.state[param]["second_moment_buffer"].shape == (shape[0], *(1 for _ in shape[1:]))


def test_a_row_without_a_gradient_stays():
    (param,) = parameters([(6, 4)])
    set_gradients([param], 0)
    param.grad[2] = 0
    moved = step_of(param, beta2=0.9)
    assert moved.isfinite().all()
    assert (moved[2] == 0).all()
    assert (moved[:2] != 0).any(1).all()


def test_cautious_decay_spares_what_the_update_turns_away_from_zero():
    (param,) = parameters([(8, 6)], dtype=torch.float64)
    set_gradients([param], 0)
    before, update = param.detach().clone(), factor(param.grad)
    step_of(param, weight_decay=0.25, cautious=True)
    decayed = torch.where(update * before > 0, 0.75 * before, before)
    torch.testing.assert_close(param.detach(), decayed - update, rtol=0, atol=1e-10)


class TestHalfMomentum:
    def test_it_follows_that_of_the_gradients_dtype_within_its_rounding(self):
        params, others = parameters(), parameters()
        optimizer = Muon(params, lr=0.05, momentum_dtype=torch.bfloat16, compile=False)
        train(params, optimizer, steps=4)
        train(others, Muon(others, lr=0.05, compile=False), steps=4)
        assert {state["momentum_buffer"].dtype for state in optimizer.state.values()} == {torch.bfloat16}
        # 2⁻⁹ of a buffer a step turns directions by as much; updates are of some tenths of the parameters.
        assert 0 < relative_difference(params, others) < 4 * 2**-8

    def test_float32_momentum_of_bfloat16_gradients_loses_nothing(self):
        (param,) = parameters([(8, 6)], dtype=torch.bfloat16)
        optimizer = Muon([param], momentum_dtype=torch.float32, compile=False)
        expected = torch.zeros(8, 6)
        for seed in range(3):
            set_gradients([param], seed)
            optimizer.step()
            expected.lerp_(param.grad.float(), 1 - 0.95)
        assert torch.equal(optimizer.state[param]["momentum_buffer"], expected)


def test_qk_clip_as_the_docstring_has_it_bounds_the_logits():
    example = doctest.DocTestFinder().find(Muon, "Muon", globs={})[0]
    names: dict = {}
    for line in example.examples:
        exec(line.source, names)  # the docstring's own lines
    query, key, largest = names["query"].weight, names["key"].weight, names["largest"]
    x = gaussian(32, 8, dtype=torch.float32)

    def logits() -> torch.Tensor:
        q, k = ((x @ weight.T).unflatten(1, (2, 4)).transpose(0, 1) for weight in (query, key))
        return (q @ k.mT).detach()

    before = logits()
    # The first head is below the bound of 100, the second twice above it.
    largest.copy_(torch.tensor([50.0, 200.0]))
    names["optimizers"][0].step()
    torch.testing.assert_close(logits(), before * torch.tensor([1.0, 0.5])[:, None, None])
