"""Shampoo: against an independent float64 reference, and what its step must not do."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch.utils._python_dispatch import TorchDispatchMode

from prism_compile.optim import Shampoo

from ..matrices import F64, eigh_power, gaussian


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


INPUT, TARGET = gaussian(96, 12), gaussian(96, 6, seed=1)


def small_model(dtype=torch.float32) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(12, 20), nn.Tanh(), nn.Linear(20, 6)).to(dtype)


def backward(model) -> torch.Tensor:
    dtype = next(model.parameters()).dtype
    model.zero_grad()
    loss = (model(INPUT.to(dtype)) - TARGET.to(dtype)).square().mean()
    loss.backward()
    return loss.detach()


def train(model, optimizer, steps) -> None:
    for _ in range(steps):
        backward(model)
        optimizer.step()


def optimizer_for(model, **options) -> Shampoo:
    return Shampoo(model.parameters(), **{"lr": 1e-2, "betas": (0.9, 0.99), "compile": False, **options})


def assert_parameters_close(model, expected, tolerance) -> None:
    for w, other in zip(model.parameters(), expected.parameters()):
        assert (w.double() - other.double()).norm() <= tolerance * other.double().norm()


# 50 steps of float32. Each direction has a relative error of about 1e-4 (roots of factors of condition up to
# n/eps = 2e5) and moves a weight by some percent, so that 1e-3 leaves room for ten times that error.
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"grafting": "none", "weight_decay": 0.1, "lr": 3e-3},
        {"grafting": "sgd", "lr": 0.1, "betas": (0.0, 0.99)},
        {"precondition_frequency": 7, "start_step": 5},
        {"p": 2, "grafting": "adam"},
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


class NoReadback(TorchDispatchMode):
    """Refuses every operation that would make the host wait for a device."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        assert name not in ("_local_scalar_dense", "item", "nonzero", "is_nonzero", "equal", "unique"), name
        return function(*args, **(kwargs or {}))


def test_the_readback_check_sees_one():
    with pytest.raises(AssertionError, match="_local_scalar_dense"), NoReadback():
        torch.ones(()).item()


@pytest.mark.parametrize("grafting", ["none", "sgd", "adam"])
def test_a_step_reads_nothing_back(grafting):
    model = small_model()
    lr = torch.tensor(1e-2)
    optimizer = optimizer_for(model, lr=lr, grafting=grafting, precondition_frequency=2, weight_decay=0.1)
    for _ in range(3):
        backward(model)
        with NoReadback():
            optimizer.step()


def test_the_step_runs_on_shapes_alone():
    # On meta tensors there is nothing that a branch on data could read.
    model = small_model().to("meta")
    optimizer = optimizer_for(model, precondition_frequency=2)
    for _ in range(3):
        for w in model.parameters():
            w.grad = torch.empty_like(w)
        optimizer.step()


def test_solves_compile_once_per_shape_and_agree_with_eager():
    counter = CompileCounter()
    options = {"precondition_frequency": 2, "max_preconditioner_dim": 10, "steps": 5}
    model, eager = small_model(), small_model()
    optimizer = optimizer_for(model, compile={"backend": counter}, **options)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    plain = optimizer_for(eager, **options)
    plain_schedule = torch.optim.lr_scheduler.ExponentialLR(plain, 0.9)
    for _ in range(8):
        train(model, optimizer, 1)
        train(eager, plain, 1)
        schedule.step()
        plain_schedule.step()
        # A gradient that is missing now and then must not change a batch's shape.
        model[2].weight.requires_grad_(False)
        eager[2].weight.requires_grad_(False)
        train(model, optimizer, 1)
        train(eager, plain, 1)
        model[2].weight.requires_grad_(True)
        eager[2].weight.requires_grad_(True)
    # Factors of sizes 10 (both weights' 20 halved) and 6 (12 halved, and 6).
    assert counter.frame_count == 2
    assert_parameters_close(model, eager, 1e-6)


def test_more_shapes_than_dynamo_allows_by_default():
    counter = CompileCounter()
    weights = [gaussian(n, n, dtype=torch.float32).requires_grad_() for n in range(2, 11)]
    optimizer = Shampoo(weights, steps=1, compile={"backend": counter})
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    assert counter.frame_count == len(weights)


def test_inductor_follows_eager():
    weights = [gaussian(8, 8).requires_grad_() for _ in range(2)]
    for weight, compile in zip(weights, (True, False)):
        optimizer = Shampoo([weight], lr=0.1, eps=1e-2, steps=2, compile=compile)
        for seed in range(3):
            weight.grad = gaussian(8, 8, seed=seed)
            optimizer.step()
    # Other reduction orders in float64 at a condition below 1e3, through two steps.
    torch.testing.assert_close(*weights, rtol=0, atol=1e-10)


def test_a_callers_compile_leaves_the_step_as_it_is():
    model, eager = small_model(), small_model()
    optimizer = optimizer_for(model)
    compiled = torch.compile(optimizer.step, backend="eager")
    with torch._dynamo.config.patch(error_on_recompile=True):
        for _ in range(4):
            backward(model)
            compiled()
    train(eager, optimizer_for(eager), 4)
    assert_parameters_close(model, eager, 0)


def test_equal_sizes_are_one_batch():
    batches = []

    def backend(graph, inputs):
        batches.append(tuple(inputs[0].shape))
        return graph

    model = small_model()
    train(model, optimizer_for(model, max_preconditioner_dim=10, compile={"backend": backend}), 1)
    # [20, 12] is four blocks [10, 6], [6, 20] two blocks [6, 10].
    assert sorted(batches) == [(6, 6, 6), (6, 10, 10)]


@pytest.mark.parametrize("copied", ["load_state_dict", "pickle"])
def test_a_saved_state_continues_identically(copied, tmp_path):
    options = {"precondition_frequency": 3, "start_step": 2, "max_preconditioner_dim": 10}
    model = small_model()
    optimizer = optimizer_for(model, **options)
    train(model, optimizer, 7)
    if copied == "pickle":
        other_model, other = pickle.loads(pickle.dumps((model, optimizer)))
    else:
        other_model = copy.deepcopy(model)
        other = optimizer_for(other_model, **options)
        torch.save(optimizer.state_dict(), tmp_path / "state.pt")
        other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    train(model, optimizer, 5)
    train(other_model, other, 5)
    assert_parameters_close(model, other_model, 0)


def test_loading_keeps_the_precision_of_the_state_and_shares_nothing():
    model = small_model()
    optimizer = optimizer_for(model)
    train(model, optimizer, 3)
    saved = optimizer.state_dict()
    for dtype, kept in ((torch.bfloat16, torch.float32), (torch.float64, F64)):
        other_model = small_model(dtype)
        other = optimizer_for(other_model)
        other.load_state_dict(saved)
        for number, w in enumerate(other_model.parameters()):
            for name, new in other.state[w].items():
                old = saved["state"][number][name]
                assert new.dtype == (torch.float32 if name == "step" else kept)
                assert torch.equal(new.double(), old.double())
                assert new.data_ptr() != old.data_ptr()
        train(other_model, other, 2)
    assert [w.dtype for w in other_model.parameters()] == [F64] * 4


def test_a_load_hook_is_heard():
    model = small_model()
    optimizer = optimizer_for(model)
    train(model, optimizer, 2)
    other = optimizer_for(small_model())

    def reset_steps(_, state_dict):
        state = {k: {**v, "step": torch.zeros(())} for k, v in state_dict["state"].items()}
        return {**state_dict, "state": state}

    other.register_load_state_dict_pre_hook(reset_steps)
    other.load_state_dict(optimizer.state_dict())
    assert all(state["step"] == 0 for state in other.state.values())


def test_bfloat16_parameters_train_with_float32_state():
    model = small_model(torch.bfloat16)
    optimizer = optimizer_for(model)
    first = backward(model)
    train(model, optimizer, 40)
    assert backward(model) < 0.8 * first
    kept = {value.dtype for state in optimizer.state.values() for value in state.values()}
    assert kept == {torch.float32}


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


def test_sparse_gradients_are_refused():
    table = nn.Embedding(5, 3, sparse=True)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match="sparse"):
        Shampoo(table.parameters(), compile=False).step()


@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"lr": -1.0}, ValueError, "lr"),
        ({"lr": torch.ones(2)}, ValueError, "lr"),
        ({"betas": (1.0, 0.9)}, ValueError, r"betas\[0\]"),
        ({"betas": (0.9, 1.5)}, ValueError, r"betas\[1\]"),
        ({"eps": 0.0}, ValueError, "eps"),
        ({"eps": "small"}, TypeError, "eps"),
        ({"weight_decay": -0.1}, ValueError, "weight_decay"),
        ({"max_preconditioner_dim": 0}, ValueError, "max_preconditioner_dim"),
        ({"precondition_frequency": 1.5}, TypeError, "precondition_frequency"),
        ({"start_step": -1}, ValueError, "start_step"),
        ({"grafting": "lion"}, ValueError, "grafting"),
        ({"p": 0}, ValueError, "p must"),
        ({"steps": 0}, ValueError, "steps"),
        ({"solver": "svd"}, ValueError, "solver"),
        ({"compile": "yes"}, TypeError, "compile"),
    ],
    ids=str,
)
def test_bad_options_are_named(options, error, named):
    with pytest.raises(error, match=named):
        Shampoo([torch.zeros(3, 3, requires_grad=True)], **options)


def test_groups_have_options_of_their_own():
    model = small_model()
    groups = [{"params": model[0].parameters(), "lr": 0.0}, {"params": model[2].parameters()}]
    optimizer = Shampoo(groups, lr=1e-2, compile=False)
    before = copy.deepcopy(model)
    train(model, optimizer, 2)
    assert_parameters_close(model[0], before[0], 0)
    assert (model[2].weight != before[2].weight).any()
    with pytest.raises(ValueError, match="grafting"):
        optimizer.add_param_group({"params": [torch.zeros(2, 2, requires_grad=True)], "grafting": "lion"})
    assert len(optimizer.param_groups) == 2
