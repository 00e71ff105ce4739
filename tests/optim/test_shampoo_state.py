"""Shampoo's state: saved, loaded, copied, and the precision it is kept in."""

import copy

import torch

from ..matrices import F64
from .shampoo_model import assert_parameters_close, backward, optimizer_for, small_model, train


def test_a_saved_state_continues_identically(tmp_path):
    options = {"precondition_frequency": 3, "start_step": 2, "max_preconditioner_dim": 10}
    model = small_model()
    optimizer = optimizer_for(model, **options)
    train(model, optimizer, 7)
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


def test_the_count_of_steps_is_float32_by_any_default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        model = small_model(torch.float32)
        optimizer = optimizer_for(model)
        train(model, optimizer, 1)
    finally:
        torch.set_default_dtype(torch.float32)
    assert {value.dtype for state in optimizer.state.values() for value in state.values()} == {torch.float32}
