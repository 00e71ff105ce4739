"""prism_compile.optim.Muon against torch.optim.Muon."""

import pytest
import torch
from torch import nn

from prism_compile.optim import Muon

from .training import jordan, model_and_data, parameters, relative_difference, train

pytestmark = pytest.mark.usefixtures("one_thread")

JORDAN = (3.4445, -4.7750, 2.0315)


def orthogonalise_in_float64(D: torch.Tensor) -> torch.Tensor:
    """torch.optim.Muon's iteration without its rounding."""
    a, b, c = JORDAN
    X = D.double() / D.double().norm()
    for _ in range(5):
        gram = X @ X.T
        X = a * X + (b * gram + c * gram @ gram) @ X
    return X


def step_in_float64(params, buffers, lr, weight_decay=0.1, momentum=0.95) -> None:
    for param, buffer in zip(params, buffers):
        buffer.lerp_(param.grad, 1 - momentum)
        U = orthogonalise_in_float64(param.grad.lerp(buffer, momentum))
        m, n = param.shape
        param.mul_(1 - lr * weight_decay).sub_(lr * max(1, m / n) ** 0.5 * U)


class TestParity:
    def test_trajectory_of_jordans_rule_is_torchs_within_its_rounding(self):
        steps, lr = 100, 0.02
        trajectories = []
        for kind in (torch.optim.Muon, jordan, "float64"):
            model, x, y = model_and_data()
            if kind == "float64":
                model, x, y = model.double(), x.double(), y.double()
            params = list(model.parameters())
            buffers = [torch.zeros_like(param) for param in params]
            optimizer = None if kind == "float64" else kind(params, lr=lr)
            trajectory = []
            for _ in range(steps):
                model.zero_grad()
                (model(x) - y).square().mean().backward()
                if optimizer is None:
                    with torch.no_grad():
                        step_in_float64(params, buffers, lr)
                else:
                    optimizer.step()
                trajectory.append([param.detach().clone() for param in params])
            trajectories.append(trajectory)
        theirs, ours, exact = trajectories
        for t in (0, 9, 99):
            rounding = relative_difference(theirs[t], exact[t])
            # Both runs leave the exact one by bfloat16's rounding, in different directions and by about as
            # much each: the triangle inequality, and as much again for the chance in it.
            assert 0 < rounding < 0.02
            assert relative_difference(ours[t], exact[t]) < 2 * rounding
            assert relative_difference(ours[t], theirs[t]) < 3 * rounding

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"nesterov": False},
            {"adjust_lr_fn": "match_rms_adamw"},
            {"momentum": 0.0, "weight_decay": 0.0},
            {"lr": torch.tensor(0.03)},
            {"ns_coefficients": JORDAN, "ns_steps": 3},
        ],
        ids=str,
    )
    def test_every_option_means_what_it_means_in_torch(self, options):
        params, others = parameters(), parameters()
        arguments = {"lr": 0.05, **options}
        train(others, torch.optim.Muon(others, **arguments))
        train(params, jordan(params, **arguments))
        # 2⁻⁸ for each of three updates whose sizes are at most some tenths of the parameters'.
        assert relative_difference(params, others) < 3 * 2**-8
        start = parameters()
        moved = relative_difference(others, start)
        assert relative_difference(params, others) < 0.05 * moved

    def test_defaults_are_torchs_but_for_the_rule(self):
        theirs = torch.optim.Muon(parameters()).param_groups[0]
        ours = Muon(parameters()).param_groups[0]
        assert {name: ours[name] for name in theirs if name != "params"} == {
            name: value for name, value in theirs.items() if name != "params"
        }
        assert ours["rule"] == "polar_express"
        assert Muon(parameters(), ns_coefficients=JORDAN).param_groups[0]["rule"] == "jordan"

    def test_positional_arguments_are_torchs(self):
        arguments = (0.1, 0.2, 0.9, False, JORDAN, 1e-6, 4, "match_rms_adamw")
        theirs = torch.optim.Muon(parameters(), *arguments).param_groups[0]
        ours = Muon(parameters(), *arguments).param_groups[0]
        assert all(ours[name] == theirs[name] for name in theirs if name != "params")


def test_vectors_are_refused_and_leave_the_optimizer_as_it_was():
    optimizer = Muon(parameters())
    with pytest.raises(ValueError, match=r"at least 2 dimensions, got one of shape \(7,\)"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(7))]})
    assert len(optimizer.param_groups) == 1
