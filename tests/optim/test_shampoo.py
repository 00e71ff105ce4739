"""Shampoo: against an independent float64 reference, and what moves a weight."""

import copy

import pytest
import torch

from prism_compile.optim import Shampoo

from ..matrices import F64, eigh_power, gaussian
from .shampoo_model import assert_parameters_close, backward, optimizer_for, small_model, train


def root_by_eigh(A, p, eps):
    n = A.shape[0]
    return eigh_power(A + eps * A.trace() / n * torch.eye(n, dtype=F64), -1 / p)


class Reference:
    """Shampoo of one float64 parameter, unblocked, by eigendecomposition: the formulas of its docstring."""

    def __init__(self, w, *, lr, betas, eps, weight_decay=0.0, grafting="adam", p=4, frequency=1, start=0):
        self.w, self.lr, self.betas, self.eps, self.decay = w, lr, betas, eps, weight_decay
        self.grafting, self.p, self.frequency, self.start = grafting, p, frequency, start
        self.t, self.M, self.V = 0, torch.zeros_like(w), torch.zeros_like(w)
        if w.ndim > 1:
            m, n = w.reshape(w.shape[0], -1).shape
            self.L, self.R = torch.zeros(m, m, dtype=F64), torch.zeros(n, n, dtype=F64)

    def step(self, G):
        b1, b2 = self.betas
        new = 1 - b2 if b2 < 1 else 1.0
        self.M, self.V = b1 * self.M + (1 - b1) * G, b2 * self.V + new * G * G
        matrix = self.w.ndim > 1
        if matrix:
            flat = G.reshape(len(G), -1)
            self.L, self.R = b2 * self.L + new * flat @ flat.T, b2 * self.R + new * flat.T @ flat
        due = self.t >= self.start and (self.t - self.start) % self.frequency == 0
        self.t += 1
        c1, c2 = 1 - b1**self.t, 1 - b2**self.t if b2 < 1 else 1.0
        if matrix and due:
            self.left, self.right = (root_by_eigh(C / c2, self.p, self.eps) for C in (self.L, self.R))
        mean = self.M / c1
        adam = mean / ((self.V / c2).sqrt() + 1e-8)
        direction = plain = adam if not matrix or self.grafting == "adam" else mean
        if matrix and self.t > self.start:
            direction = (self.left @ mean.reshape(len(mean), -1) @ self.right).reshape(mean.shape)
            if self.grafting != "none":
                direction = direction * plain.norm() / direction.norm()
        self.w -= self.lr * self.decay * self.w
        self.w -= self.lr * direction


# 50 steps of float32. Each direction has a relative error of about 1e-4 (roots of factors of condition up to
# n/eps = 2e5) and moves a weight by some percent, so that 1e-3 leaves room for ten times that error.
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"grafting": "none", "weight_decay": 0.1, "lr": 3e-3},
        {"grafting": "sgd", "lr": 0.1, "betas": (0.0, 0.99)},
        {"precondition_frequency": 7, "start_step": 5},
        {"p": 2, "grafting": "adam", "steps": 8},
        {"betas": (0.9, 1.0), "p": 3},
        {"solver": "eigh"},
    ],
    ids=str,
)
def test_fifty_steps_follow_the_float64_reference(options):
    settings = {"lr": 1e-2, "betas": (0.9, 0.99), "eps": 1e-4, **options}
    model, expected = small_model(), small_model().double()
    optimizer = optimizer_for(model, **settings)
    settings.pop("solver", None)
    settings.pop("steps", None)
    renamed = {"precondition_frequency": "frequency", "start_step": "start"}
    settings = {renamed.get(name, name): value for name, value in settings.items()}
    references = [Reference(w.data, **settings) for w in expected.parameters()]
    before = copy.deepcopy(expected)
    for _ in range(50):
        backward(model)
        optimizer.step()
        backward(expected)
        for reference, w in zip(references, expected.parameters()):
            reference.step(w.grad)
    assert_parameters_close(model, expected, 1e-3)
    for w, start in zip(expected.parameters(), before.parameters()):
        assert (w - start).norm() > 0.02 * start.norm()


def follow_with_given_gradients(shape, largest, blocks, steps=5) -> None:
    """Compare a blocked weight with references on its blocks."""
    weight = gaussian(*shape).requires_grad_()
    options = {"lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-3, "grafting": "none"}
    expected = weight.detach().clone().reshape(shape[0], -1)
    references = [Reference(expected[block], **options) for block in blocks]
    optimizer = Shampoo([weight], max_preconditioner_dim=largest, steps=20, compile=False, **options)
    for step in range(steps):
        weight.grad = gaussian(*shape, seed=step + 1)
        optimizer.step()
        for reference, block in zip(references, blocks):
            reference.step(weight.grad.reshape(shape[0], -1)[block])
    # float64, converged roots of condition below 1e4: rounding only.
    torch.testing.assert_close(weight.detach().reshape(shape[0], -1), expected, rtol=0, atol=1e-8)


def test_a_weight_larger_than_the_largest_factor_is_cut_evenly():
    rows, columns = (slice(0, 3), slice(3, 7)), (slice(0, 4), slice(4, 8), slice(8, 12))
    follow_with_given_gradients((7, 12), 4, [(r, c) for r in rows for c in columns])


def test_a_convolution_is_taken_as_a_matrix():
    follow_with_given_gradients((6, 2, 3, 3), 32, [(slice(None), slice(None))])


@pytest.mark.parametrize("solver", ["prism", "eigh"])
@pytest.mark.parametrize("grafting", ["none", "sgd", "adam"])
def test_zero_gradients_move_nothing(solver, grafting):
    model = small_model()
    before = copy.deepcopy(model)
    optimizer = optimizer_for(model, solver=solver, grafting=grafting)
    for _ in range(2):
        for w in model.parameters():
            w.grad = torch.zeros_like(w)
        optimizer.step()
    assert_parameters_close(model, before, 0)
    # Nor do they leave anything behind that keeps later gradients from moving them.
    train(model, optimizer, 2)
    for w, start in zip(model.parameters(), before.parameters()):
        assert w.isfinite().all()
        assert (w != start).any()


def test_the_direction_does_not_depend_on_the_gradients_scale():
    # Without grafting L^(-1/4) G R^(-1/4) is of degree 0 in G; squares of 1e±15 are within float32.
    steps = {}
    for scale in (1.0, 1e-15, 1e15):
        weight = torch.zeros(8, 5, requires_grad=True)
        weight.grad = scale * gaussian(8, 5, dtype=torch.float32)
        Shampoo([weight], lr=1.0, grafting="none", compile=False).step()
        steps[scale] = weight.detach()
    for scale in (1e-15, 1e15):
        torch.testing.assert_close(steps[scale], steps[1.0], rtol=1e-3, atol=1e-3)


def test_missing_gradients_are_skipped_and_late_ones_join():
    # As an optimizer that never had the others: a late weight starts anew, with roots of its own.
    model, alone = small_model(), small_model()
    optimizer = optimizer_for(model, precondition_frequency=50)
    for w in model[0].parameters():
        w.requires_grad_(False)
    train(model, optimizer, 3)
    assert not any(w in optimizer.state for w in model[0].parameters())
    alone.load_state_dict(model.state_dict())
    late = Shampoo(alone[0].parameters(), lr=1e-2, betas=(0.9, 0.99), compile=False)
    for w in model[0].parameters():
        w.requires_grad_(True)
    train(model, optimizer, 1)
    train(alone, late, 1)
    assert_parameters_close(model[0], alone[0], 1e-6)


def test_a_nan_gradient_stays_in_its_parameter():
    model = small_model()
    optimizer = optimizer_for(model)
    for _ in range(2):
        backward(model)
        model[0].weight.grad[0, 0] = float("nan")
        # Its neighbours' gradients are as they were computed, finite.
        model[2].weight.grad.nan_to_num_()
        optimizer.step()
        model[0].weight.data.nan_to_num_()
    assert model[2].weight.isfinite().all()
    state = optimizer.state[model[0].weight]
    assert state["left.0"].isnan().any()
    assert state["right.0"].isnan().any()
