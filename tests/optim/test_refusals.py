"""What the optimizers refuse, by name, and what they leave as it was."""

import copy

import pytest
import torch
from torch import nn

from prism_compile.optim import Muon, Orthogonaliser, Shampoo

from .training import parameters

KINDS = pytest.mark.parametrize("kind", [Muon, Shampoo])
ALL, SOLVERS = (Muon, Shampoo, Orthogonaliser), (Muon, Orthogonaliser)
OPTIONS = [
    ((Muon, Shampoo), "lr", "a", TypeError, "must be a number ≥ 0, got 'a' of type str"),
    ((Muon, Shampoo), "lr", -1.0, ValueError, "must be finite and ≥ 0, got -1.0"),
    ((Muon, Shampoo), "lr", float("inf"), ValueError, "must be finite and ≥ 0, got inf"),
    ((Muon, Shampoo), "lr", torch.ones(2), ValueError, r"must have one element .* got shape \(2,\)"),
    ((Muon, Shampoo), "weight_decay", float("nan"), ValueError, "must be finite and ≥ 0, got nan"),
    (ALL, "compile", "yes", TypeError, "must be True, False or a dict for torch.compile, got 'yes'"),
    (ALL, "compile", {"foo": 1}, ValueError, "must have keys among .*dynamic.* got 'foo'"),
    (ALL, "process_group", 3, TypeError, "must be None, a .* got 3 of type int"),
    (SOLVERS, "rule", 3, TypeError, "must be None, a name or the rows .* got 3 of type int"),
    (SOLVERS, "rule", "newton", ValueError, "must be one of .* got 'newton'"),
    (SOLVERS, "rule", [(1.0, 2.0)], ValueError, r"must have .* \(a"),
    (SOLVERS, "degree", 3, ValueError, "must be 1 or 2, got 3"),
    (SOLVERS, "dtype", torch.int32, ValueError, "must be None or one of"),
    (SOLVERS, "dtype", torch.complex64, ValueError, "must be None or one of .* got torch.complex64"),
    (SOLVERS, "flatten", 1, TypeError, "must be True or False, got 1 of type int"),
    (SOLVERS, "heads", 0, ValueError, "must be ≥ 1, got 0"),
    (SOLVERS, "heads", (), TypeError, "must be an int ≥ 1"),
    (SOLVERS, "heads", (8, 0), ValueError, r"\[1\] must be ≥ 1, got 0"),
    (SOLVERS, "heads_by", "depth", ValueError, "must be one of 'rows', 'columns', got 'depth'"),
    ((Orthogonaliser,), "steps", 0, ValueError, "must be ≥ 1, got 0"),
    ((Muon,), "heads", 5, ValueError, "must divide the rows of each matrix, got heads=5 for shape"),
    ((Muon,), "heads", (8, 8), ValueError, r"must sum to the rows of each matrix, got heads=\(8, 8\)"),
    ((Muon,), "ns_steps", 0, ValueError, "must be ≥ 1, got 0"),
    ((Muon,), "nesterov", 1, TypeError, "must be True or False"),
    ((Muon,), "cautious", 1, TypeError, "must be True or False"),
    ((Muon,), "momentum", -0.1, ValueError, "must be finite and ≥ 0"),
    ((Muon,), "momentum_dtype", torch.int8, ValueError, "must be None or one of"),
    ((Muon,), "beta2", 1.0, ValueError, r"must be None or in \[0, 1\), got 1.0"),
    ((Muon,), "adjust_lr_fn", "other", ValueError, "must be one of .* got 'other'"),
    ((Muon,), "ns_coefficients", (1.0, 2.0), ValueError, r"must have three finite numbers \(a"),
    ((Muon,), "ns_coefficients", 3.0, TypeError, r"must be None or \(a, b, c\), got 3.0 of type float"),
    ((Shampoo,), "betas", (1.0, 0.9), ValueError, r"\[0\] must be in \[0, 1\), got 1.0"),
    ((Shampoo,), "betas", (0.9, 1.5), ValueError, r"\[1\] must be in \[0, 1\], got 1.5"),
    ((Shampoo,), "betas", 0.9, TypeError, "must be a pair of numbers, got 0.9 of type float"),
    ((Shampoo,), "betas", (0.9,), TypeError, r"must be a pair of numbers, got \(0.9,\)"),
    ((Shampoo,), "eps", 0.0, ValueError, "must be finite and > 0, got 0.0"),
    ((Shampoo,), "eps", "small", TypeError, "must be a number > 0, got 'small'"),
    ((Shampoo,), "max_preconditioner_dim", 0, ValueError, "must be ≥ 1, got 0"),
    ((Shampoo,), "precondition_frequency", 1.5, TypeError, "must be an int ≥ 1, got 1.5"),
    ((Shampoo,), "start_step", -1, ValueError, "must be ≥ 0, got -1"),
    ((Shampoo,), "grafting", "lion", ValueError, "must be one of .* got 'lion'"),
    ((Shampoo,), "p", 0, ValueError, "must be ≥ 1, got 0"),
    ((Shampoo,), "steps", 0, ValueError, "must be ≥ 1, got 0"),
    ((Shampoo,), "solver", "svd", ValueError, "must be one of .* got 'svd'"),
    ((Shampoo,), "shard_state", True, ValueError, "must be False where process_group is None, got True"),
]


@pytest.mark.parametrize(("kinds", "name", "value", "error", "message"), OPTIONS)
def test_options_are_named(kinds, name, value, error, message):
    for kind in kinds:
        with pytest.raises(error, match=f"^{name}{'' if message.startswith(chr(92)) else ' '}{message}"):
            kind(**({} if kind is Orthogonaliser else {"params": parameters()}), **{name: value})


def test_options_that_do_not_go_together_are_named():
    with pytest.raises(ValueError, match="degree"):
        Muon(parameters(), rule="jordan", degree=1)
    with pytest.raises(ValueError, match="heads must divide the columns of each matrix"):
        Muon(parameters(), heads=5, heads_by="columns")


@KINDS
@pytest.mark.parametrize(
    ("group", "error", "message"),
    [
        ({"lr": "a"}, TypeError, "lr must be a number"),
        ({"compile": False}, ValueError, "compile must be the optimizer's, True, got False"),
        ({"process_group": 3}, TypeError, "process_group must be None"),
        ({"weight_decy": 0.1}, ValueError, "weight_decy is no option of a param group.* 'weight_decay'"),
        ({"maximize": True}, ValueError, "maximize must be absent or False in a param group, got True"),
    ],
    ids=str,
)
def test_a_group_that_is_refused_leaves_the_optimizer_as_it_was(kind, group, error, message):
    optimizer = kind(parameters())
    before = copy.deepcopy(optimizer.state_dict())
    given = {"params": [nn.Parameter(torch.zeros(4, 4))], **group}
    with pytest.raises(error, match=message):
        optimizer.add_param_group(given)
    assert optimizer.state_dict() == before
    assert set(given) == {"params", *group}


@KINDS
def test_parameters_without_real_dense_matrices_are_refused(kind):
    with pytest.raises(
        TypeError, match=r"params must be real and floating-point, got one of torch\.complex64"
    ):
        kind([nn.Parameter(torch.zeros(4, 4, dtype=torch.complex64))])
    with pytest.raises(TypeError, match=r"params must be dense, got one of layout torch\.sparse_coo"):
        kind([nn.Parameter(torch.eye(4).to_sparse())])
    with pytest.raises(TypeError, match=r"got one of torch\.float8_e4m3fn, not of torch\.float64"):
        kind([nn.Parameter(torch.zeros(4, 4).to(torch.float8_e4m3fn))])
    flattened = nn.Parameter(torch.zeros(4, 4))
    flattened._fsdp_flattened = True
    with pytest.raises(TypeError, match="FullyShardedDataParallel has flattened"):
        kind([flattened])


@KINDS
def test_sparse_gradients_are_refused_before_anything_is_changed(kind):
    params = parameters([(4, 4)] * 2)
    params[0].grad, params[1].grad = torch.eye(4), torch.eye(4).to_sparse()
    before = params[0].detach().clone()
    optimizer = kind(params, compile=False)
    with pytest.raises(RuntimeError, match=f"{kind.__name__} does not support sparse gradients"):
        optimizer.step()
    assert torch.equal(params[0].detach(), before)
    assert not optimizer.state


def test_the_orthogonaliser_names_what_it_cannot_take():
    orthogonalise = Orthogonaliser(compile=False)
    with pytest.raises(TypeError, match=r"updates must be real and floating-point, got one of torch\.int64"):
        orthogonalise([torch.ones(3, 3, dtype=torch.int64)])
    with pytest.raises(ValueError, match=r"updates must have at least 2 dimensions, got one of shape \(3,\)"):
        orthogonalise([torch.ones(3)])
    for updates in (None, torch.ones(2, 3, 3), {"weight": torch.ones(3, 3)}, 3):
        with pytest.raises(TypeError, match=f"sequence of tensors, got one {type(updates).__name__}"):
            orthogonalise(updates)
    with pytest.raises(TypeError, match="updates must be tensors, got one of type tuple"):
        orthogonalise([("weight", torch.ones(3, 3))])
    with pytest.raises(TypeError, match="updates must be tensors, got one of type NoneType"):
        orthogonalise([None])


@KINDS
def test_another_optimizers_state_is_refused_and_changes_nothing(kind):
    params = parameters()
    optimizer = kind(params)
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(ValueError, match=f"state_dict must be of {kind.__name__}, got a param group without"):
        optimizer.load_state_dict(torch.optim.AdamW(params).state_dict())
    assert optimizer.state_dict() == before


@KINDS
@pytest.mark.parametrize(
    ("edit", "error", "message"),
    [
        ({"lr": "a"}, TypeError, "lr must be a number"),
        ({"weight_decay": -1.0}, ValueError, "weight_decay must be finite and ≥ 0"),
        ({"maximize": True}, ValueError, "maximize must be absent or False"),
    ],
    ids=str,
)
def test_edits_by_hand_are_refused_at_the_next_step(kind, edit, error, message):
    optimizer = kind(parameters([(4, 3)]), compile=False)
    (param,) = optimizer.param_groups[0]["params"]
    param.grad = torch.ones_like(param)
    optimizer.step()
    before = param.detach().clone()
    optimizer.param_groups[0].update(edit)
    with pytest.raises(error, match=message):
        optimizer.step()
    assert torch.equal(param, before)


def test_coefficients_edited_by_hand_are_refused_beside_a_rule_and_taken_without_one():
    optimizer = Muon(parameters([(4, 3)]), compile=False)
    (param,) = optimizer.param_groups[0]["params"]
    param.grad = torch.ones_like(param)
    optimizer.param_groups[0]["ns_coefficients"] = (2.0, -1.5, 0.5)
    with pytest.raises(ValueError, match="rule must be None where ns_coefficients are"):
        optimizer.step()
    optimizer.param_groups[0]["rule"] = None
    optimizer.step()
    assert optimizer.param_groups[0]["rule"] == ((2.0, -1.5, 0.5),)
