"""Muon's checkpoints and schedules."""

import io

import pytest
import torch

from prism_compile.optim import Muon

from .training import jordan, parameters, relative_difference, train

pytestmark = pytest.mark.usefixtures("one_thread")


def saved(state: dict) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return file


class TestState:
    def test_torchs_checkpoint_loads_and_training_goes_on(self):
        others, params = parameters(), parameters()
        other = torch.optim.Muon(others, lr=0.05, momentum=0.9)
        train(others, other)
        for param, value in zip(params, others):
            param.data.copy_(value.data)
        optimizer = jordan([{"params": params, "heads": 2}])
        optimizer.load_state_dict(torch.load(saved(other.state_dict())))
        group = optimizer.param_groups[0]
        assert (group["lr"], group["momentum"], group["heads"]) == (0.05, 0.9, 2)
        group["heads"] = 1
        train(others, other, first=3)
        train(params, optimizer, first=3)
        assert relative_difference(params, others) < 3 * 2**-8

    def test_torch_loads_our_checkpoint(self):
        params, others = parameters(), parameters()
        optimizer = Muon(params, lr=0.05, compile=False)
        train(params, optimizer)
        other = torch.optim.Muon(others)
        other.load_state_dict(torch.load(saved(optimizer.state_dict())))
        assert other.param_groups[0]["lr"] == 0.05
        train(others, other, first=3)
        # Momentum depends on the gradients alone.
        twins = parameters()
        twin = torch.optim.Muon(twins)
        train(twins, twin, steps=6)
        for value, param in zip(others, twins):
            assert torch.equal(other.state[value]["momentum_buffer"], twin.state[param]["momentum_buffer"])

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
    @pytest.mark.parametrize("options", [{}, {"beta2": 0.9, "cautious": True}], ids=str)
    def test_resuming_changes_nothing(self, options, dtype):
        if options:
            other = torch.float32 if dtype is torch.bfloat16 else torch.bfloat16
            options = {**options, "momentum_dtype": other}
        straight, resumed = parameters(dtype=dtype), parameters(dtype=dtype)
        train(straight, Muon(straight, lr=0.05, compile=False, **options), steps=6)
        first = Muon(resumed, lr=0.05, compile=False, **options)
        train(resumed, first)
        second = Muon(resumed, compile=False)
        # Twice, for torch's own loading leaves a default more behind.
        for _ in range(2):
            second.load_state_dict(torch.load(saved(first.state_dict()), weights_only=True))
        train(resumed, second, first=3)
        assert all(map(torch.equal, straight, resumed))

    def test_other_coefficients_of_a_checkpoint_are_taken_over_by_rules_that_are_coefficients(self):
        state = torch.optim.Muon(parameters(), ns_coefficients=(2.0, -1.5, 0.5)).state_dict()
        for optimizer in (jordan(parameters()), Muon(parameters(), rule=[(3.0, -3.0, 1.0)], compile=False)):
            optimizer.load_state_dict(state)
            assert optimizer.param_groups[0]["rule"] == ((2.0, -1.5, 0.5),)
        optimizer = Muon(parameters())
        optimizer.load_state_dict(state)
        assert optimizer.param_groups[0]["rule"] == "polar_express"

    def test_a_schedule_of_rate_and_momentum_is_torchs(self):
        params, others = parameters(), parameters()
        optimizer, other = jordan(params, lr=0.05), torch.optim.Muon(others, lr=0.05)
        for own, instance in ((others, other), (params, optimizer)):
            scheduler = torch.optim.lr_scheduler.OneCycleLR(instance, 0.1, 10, cycle_momentum=True)
            train(own, instance, steps=6, scheduler=scheduler)
        assert optimizer.param_groups[0]["momentum"] == other.param_groups[0]["momentum"] != 0.95
        assert relative_difference(params, others) < 6 * 2**-8
