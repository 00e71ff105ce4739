"""prism_compile.optim.Muon against torch.optim.Muon."""

import pytest
import torch
from torch import nn

from prism_compile.optim import Muon

from .training import jordan, parameters, relative_difference, train

pytestmark = pytest.mark.usefixtures("one_thread")

JORDAN = (3.4445, -4.7750, 2.0315)


class TestParity:
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
