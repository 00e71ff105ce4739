"""split_parameters: which parameters are matrices for Muon."""

import pytest
import torch
from torch import nn

from prism_compile.optim import Muon, split_parameters


class RMSNorm(nn.Module):
    """Not torch's, and with a matrix for a weight."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 4))


class LanguageModel(nn.Module):
    def __init__(self, tied: bool = False):
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(5, 8))
        self.tokens = nn.Embedding(11, 8)
        self.attention = nn.MultiheadAttention(8, 2)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        self.norms = nn.ModuleList([nn.LayerNorm((4, 8)), nn.GroupNorm(2, 8), RMSNorm()])
        self.value_head = nn.ModuleDict({"value_head": nn.Linear(8, 8)})
        self.patches = nn.Conv2d(3, 8, 4)
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.decoder = nn.Linear(8, 11, bias=False)
        if tied:
            self.decoder.weight = self.tokens.weight


HIDDEN = [
    "attention.in_proj_weight",
    "attention.out_proj.weight",
    "mlp.0.weight",
    "mlp.2.weight",
    "patches.weight",
]


def names(part) -> list[str]:
    return [name for name, _ in part]


@pytest.mark.parametrize("tied", [False, True])
def test_hidden_matrices_go_to_muon_and_the_rest_elsewhere(tied):
    model = LanguageModel(tied)
    split = split_parameters(model)
    assert sorted(names(split.matrices)) == HIDDEN
    trainable = {name for name, param in model.named_parameters() if param.requires_grad}
    assert len(split.rest) + len(HIDDEN) == len(trainable)
    assert {*names(split.matrices), *names(split.rest)} == trainable
    assert all(param is model.get_parameter(name) for part in split for name, param in part)


def test_a_matrix_tied_to_an_embedding_is_no_matrix():
    model = nn.ModuleDict({"inner": nn.ModuleDict({"up": nn.Linear(8, 11)}), "tokens": nn.Embedding(11, 8)})
    assert names(split_parameters(model).matrices) == ["inner.up.weight"]
    model["tokens"].weight = model["inner"]["up"].weight
    split = split_parameters(model)
    assert names(split.matrices) == []
    assert names(split.rest).count("inner.up.weight") == 1
    assert "tokens.weight" not in names(split.rest)


def test_wrappers_are_looked_through():
    class Wrapper(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 2))
    assert names(split_parameters(model).matrices) == ["0.weight"]
    assert names(split_parameters(Wrapper(model)).matrices) == ["module.0.weight"]
    assert names(split_parameters(torch.compile(model)).matrices) == ["_orig_mod.0.weight"]


def test_select_overrides_the_rule():
    def select(name, param):
        if name == "positions":
            return True
        return False if name.startswith("mlp") else None

    split = split_parameters(LanguageModel(), select)
    assert sorted(names(split.matrices)) == sorted([*HIDDEN[:2], HIDDEN[4], "positions"])
    with pytest.raises(ValueError, match=r"got attention.in_proj_bias of shape \(24,\)"):
        split_parameters(LanguageModel(), lambda name, param: True)


def test_the_parts_are_what_the_optimizers_take():
    model = LanguageModel()
    split = split_parameters(model)
    muon, adamw = Muon(split.matrices, compile=False), torch.optim.AdamW(split.rest)
    before = [param.detach().clone() for param in model.parameters()]
    for param in model.parameters():
        param.grad = torch.ones_like(param) if param.requires_grad else None
    muon.step()
    adamw.step()
    for param, old in zip(model.parameters(), before):
        assert torch.equal(param, old) != param.requires_grad
