"""split_parameters: which parameters are matrices for Muon."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from prism_compile.optim import Muon, split_parameters

from ..matrices import svd_polar


def kinds(split) -> dict[str, str]:
    return {each.name: each.kind for each in split.decisions}


def matrices(model: nn.Module, overrides=None) -> list[str]:
    return [name for name, kind in kinds(split_parameters(model, overrides)).items() if kind != "rest"]


class Mixed(nn.Module):
    """All that groups differ in; the matrices have unequal sizes."""

    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(11, 8)
        self.up = nn.Linear(8, 12)
        self.grouped = nn.Conv1d(12, 6, 3, groups=2)
        self.conv = nn.Conv1d(6, 10, 3)
        self.experts = nn.Parameter(torch.randn(3, 10, 8))
        self.decoder = nn.Linear(8, 11)


def test_groups_say_how_muon_reads_them():
    torch.manual_seed(0)
    model = Mixed().double()
    groups, (rest,) = split_parameters(model)
    named = dict(model.named_parameters())
    found = [(name, param) for group in [*groups, rest] for name, param in group["params"]]
    assert len(found) == len(named)
    assert all(param is named[name] for name, param in found)
    before = {name: param.detach().clone() for name, param in named.items()}
    for param in named.values():
        param.grad = torch.randn_like(param)
    options = {"rule": "adaptive", "ns_steps": 14, "dtype": None, "momentum": 0.0, "weight_decay": 0.0}
    Muon(groups, lr=1.0, adjust_lr_fn="match_rms_adamw", compile=False, **options).step()
    for name, shape in {
        "up": (12, 8),
        "grouped": (2, 3, 18),
        "conv": (10, 18),
        "experts": (3, 10, 8),
    }.items():
        name = name if name in named else f"{name}.weight"
        step = (before.pop(name) - named[name]).reshape(shape)
        expected = svd_polar(named[name].grad.reshape(shape)) * 0.2 * max(shape[-2:]) ** 0.5
        # The orthogonaliser's own tests have its error; another reading differs by about 1.
        torch.testing.assert_close(step.detach(), expected, atol=1e-8, rtol=0)
    assert all(torch.equal(named[name], old) for name, old in before.items())


def test_a_tied_parameter_has_one_decision_for_all_its_names():
    model = nn.ModuleDict(
        {"mixer": nn.Linear(8, 8), "decoder": nn.Linear(8, 8), "tokens": nn.Embedding(8, 8)}
    )
    assert matrices(model) == ["mixer.weight", "decoder.weight"]
    model["tokens"].weight = model["decoder"].weight
    assert matrices(model) == ["mixer.weight"]
    found = [each[:1] + each[2:4] for each in split_parameters(model).decisions]
    assert found.count(("decoder.weight", "rest", "embedding, tied to tokens.weight")) == 1
    assert len(found) == 4


class Wrapper(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module


def test_wrappers_are_looked_through():
    model = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 2))
    assert matrices(model) == ["1.weight"]
    assert matrices(Wrapper(model)) == ["module.1.weight"]
    assert matrices(torch.compile(model)) == ["_orig_mod.1.weight"]


def perceptron(*sizes: int) -> nn.Sequential:
    return nn.Sequential(*(nn.Linear(a, b, bias=False) for a, b in pairwise(sizes)))


def inner(*layers: nn.Module) -> nn.Sequential:
    """A model whose layers have inputs and outputs of 8 that others give and take."""
    return nn.Sequential(nn.Embedding(9, 8), *layers, nn.LayerNorm(8))


class RMSNorm(nn.Module):
    """Not torch's, and with a matrix for a weight."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 4))


class Tables(nn.Module):
    def __init__(self):
        super().__init__()
        self.states = nn.Parameter(torch.zeros(8, 5))
        self.latents = nn.Parameter(torch.zeros(1, 5, 8))
        self.out_proj = nn.Parameter(torch.zeros(8, 8))


def test_parameters_of_no_layer_are_matrices_where_they_are_named_so():
    assert matrices(inner(Tables(), nn.LayerNorm((4, 8)), RMSNorm())) == ["1.out_proj"]
    # Norms that come last do not hide which layer does.
    assert matrices(nn.Sequential(nn.Embedding(9, 8), nn.Linear(8, 5), nn.LayerNorm((4, 8)))) == []


@pytest.mark.parametrize(
    ("model", "right"),
    [
        (perceptron(784, 64, 10), []),
        (perceptron(784, 64, 64, 10), ["1.weight"]),
        # An autoencoder takes what it gives.
        (perceptron(784, 64, 16, 64, 784), ["1.weight", "2.weight"]),
        (nn.Sequential(nn.Conv1d(5, 9, 3), nn.Conv1d(9, 9, 3), nn.ConvTranspose1d(9, 5, 3)), ["1.weight"]),
        (
            nn.Sequential(nn.Conv1d(5, 8, 3), nn.ConvTranspose1d(9, 7, 3), nn.Conv1d(7, 9, 3)),
            ["1.weight", "2.weight"],
        ),
        # Parts of a model: nothing tells their ends.
        (inner(perceptron(8, 16, 8)), ["1.0.weight", "1.1.weight"]),
        (
            nn.Sequential(*(perceptron(8, 8, 24) for _ in range(2))),
            [f"{i}.{j}.weight" for i in (0, 1) for j in (0, 1)],
        ),
        (nn.LSTM(8, 8), ["weight_ih_l0", "weight_hh_l0"]),
    ],
)
def test_ends(model, right):
    assert matrices(model) == right


def test_an_auxiliary_classifier_is_known_by_the_number_of_classes():
    layers = {
        "stem": nn.Conv2d(3, 8, 3),
        "aux": perceptron(8, 8, 5),
        "body": perceptron(8, 8),
        "fc": perceptron(8, 5),
    }
    assert matrices(nn.ModuleDict(layers)) == ["aux.0.weight", "body.0.weight"]


def test_a_layer_of_the_vocabularys_shape_is_an_output():
    words = nn.ModuleDict(
        {"tokens": nn.Embedding(16, 8), "words": nn.Linear(8, 16), "vision": perceptron(16, 8)}
    )
    assert matrices(nn.Sequential(words, nn.LayerNorm(8))) == ["0.vision.0.weight"]
    # Not where blocks repeat it, nor where the number of words is a width.
    model = nn.Sequential(nn.Embedding(16, 8), perceptron(8, 16, 8), perceptron(8, 16, 8), nn.LayerNorm(8))
    assert len(matrices(model)) == 4
    assert matrices(nn.Sequential(nn.Embedding(8, 8), perceptron(8, 8), nn.LayerNorm(8))) == ["1.0.weight"]


@pytest.mark.parametrize(("channels", "right"), [(3, 1), (4, 1), (5, 3)])
def test_convolutions_of_an_images_channels(channels, right):
    convolutions = nn.Conv2d(channels, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, channels, 3)
    assert len(matrices(inner(perceptron(8, 8), *convolutions))) == 1 + right
    # What layers before give and behind take is hidden, though it be few.
    squeezed = nn.Conv2d(8, channels, 1), nn.Conv2d(channels, 8, 1)
    assert len(matrices(inner(*squeezed))) == 2


@pytest.mark.parametrize(
    "kind",
    [
        lambda: nn.Conv1d(4, 8, 3, groups=4),
        lambda: nn.Conv1d(8, 4, 3, groups=4),
        lambda: nn.ConvTranspose1d(4, 4, 3, groups=4),
    ],
)
def test_depthwise_convolutions_are_no_matrices(kind):
    others = nn.Conv1d(8, 4, 1), nn.Conv1d(8, 4, 1), nn.Conv1d(4, 8, 1)
    assert matrices(inner(*others)) == ["1.weight", "2.weight", "3.weight"]
    assert matrices(inner(*others, kind())) == ["1.weight", "2.weight", "3.weight"]


class TestNames:
    def test_heads_end_in_outputs(self):
        layers = {
            "policy_head": perceptron(8, 8, 3),
            "conv_head": perceptron(8, 24),
            "decode_head": nn.ModuleDict({"classifier": nn.Linear(12, 5), "fuse": nn.Linear(8, 12)}),
            "heads": nn.ModuleDict({"boxes": perceptron(24, 6), "classes": perceptron(24, 7)}),
            "last": perceptron(24, 9),
        }
        right = ["policy_head.0.weight", "conv_head.0.weight", "decode_head.fuse.weight"]
        assert matrices(nn.Sequential(nn.Embedding(10, 8), nn.ModuleDict(layers))) == [
            f"1.{name}" for name in right
        ]

    @pytest.mark.parametrize("name", ["heads", "embed", "router"])
    def test_what_lies_above_repeated_blocks_does_not_name_their_layers(self, name):
        blocks = nn.ModuleList(nn.ModuleDict({"key": nn.Linear(8, 6, bias=False)}) for _ in range(3))
        assert len(matrices(inner(nn.ModuleDict({name: blocks})))) == 3
        blocks = nn.ModuleList(nn.ModuleDict({name: nn.Linear(8, 6, bias=False)}) for _ in range(3))
        assert matrices(inner(blocks)) == []
        single = nn.ModuleList([nn.ModuleDict({"key": nn.Linear(8, 8, bias=False)})])
        assert matrices(inner(nn.ModuleDict({name: single}))) == []

    def test_convolutions_of_what_layers_give_are_no_embeddings(self):
        stem = nn.ModuleDict({"patch_embed": nn.Sequential(nn.Conv2d(6, 8, 3), nn.Conv2d(8, 8, 3))})
        assert matrices(inner(stem)) == ["1.patch_embed.1.weight"]


def moe(experts: nn.Module) -> nn.Module:
    layer = {"gate": nn.Linear(8, 8), "experts": experts, "shared_expert": nn.Linear(8, 8)}
    return inner(nn.ModuleDict(layer))


def test_routers_are_known_by_the_number_of_experts():
    stacked = nn.Module()
    stacked.gate_up_proj = nn.Parameter(torch.zeros(8, 5, 12))
    stacked.gate_up_proj_bias = nn.Parameter(torch.zeros(8, 12))
    assert matrices(moe(stacked)) == ["1.experts.gate_up_proj", "1.shared_expert.weight"]
    assert "1.gate.weight" not in matrices(moe(nn.ModuleList(nn.Linear(8, 8) for _ in range(8))))
    # Without as many experts beside it a gate is a layer like others.
    single = moe(nn.ModuleList(nn.Linear(8, 8) for _ in range(4)))
    assert len(matrices(single)) == 6


def test_a_weight_that_a_parametrisation_makes_is_no_matrix_but_a_layer():
    model = nn.Sequential(nn.Conv1d(12, 16, 3), nn.Conv1d(16, 20, 3), nn.Linear(20, 7))
    assert matrices(model) == ["1.weight"]
    nn.utils.parametrizations.weight_norm(model[0])
    assert matrices(model) == ["1.weight"]
    nn.utils.parametrizations.weight_norm(model[1])
    assert matrices(model) == []
    # It still gives what the next one takes.
    squeezing = nn.utils.parametrizations.weight_norm(nn.Conv1d(8, 4, 3))
    assert matrices(inner(squeezing, nn.Conv1d(4, 8, 3))) == ["2.weight"]


class Adapter(nn.Module):
    """As peft's LoRA wraps a layer."""

    def __init__(self, base_layer):
        super().__init__()
        self.base_layer = base_layer
        self.lora_A = nn.Linear(base_layer.in_features, 2, bias=False)
        self.lora_B = nn.Linear(2, base_layer.out_features, bias=False)


def test_adapters_go_where_their_layer_goes():
    model = nn.Sequential(
        nn.Embedding(9, 12), *perceptron(12, 12), Adapter(*perceptron(8, 12)), *perceptron(12, 8)
    )
    factors = ["2.lora_A.weight", "2.lora_B.weight"]
    # 8 is what the adapted layer takes.
    assert matrices(model) == ["1.weight", "2.base_layer.weight", *factors, "3.weight"]
    assert matrices(nn.Sequential(nn.Embedding(9, 12), *perceptron(12, 12), Adapter(*perceptron(12, 5)))) == [
        "1.weight"
    ]
    # DLA has a stage of that name, which is no layer.
    stage = nn.ModuleDict(
        {"base_layer": perceptron(3, 8, 8), "level": perceptron(8, 8), "fc": perceptron(8, 5)}
    )
    assert matrices(stage) == ["base_layer.1.weight", "level.0.weight"]


class TestOverrides:
    def test_the_first_pattern_that_fits_is_taken(self):
        overrides = {"up.*": "rest", "*.weight": "matrix", "experts": "matrix"}
        with pytest.raises(
            ValueError, match=r"overrides\['\*.bias'\] must be 'rest' .*for up.bias of shape \(12,\)"
        ):
            split_parameters(Mixed(), {"*.bias": "matrix"})
        found = kinds(split_parameters(Mixed(), overrides))
        assert found["up.weight"] == "rest"
        assert found["decoder.weight"] == found["experts"] == found["tokens.weight"] == "matrix"
        (group,) = [group for group in split_parameters(Mixed(), overrides).matrices if "heads" in group]
        assert group["heads"] == 2

    def test_any_name_of_a_tied_parameter_will_do(self):
        model = nn.Sequential(nn.Embedding(9, 8), perceptron(8, 9))
        model[1][0].weight = model[0].weight
        assert matrices(model, {"1.*": "matrix"}) == ["0.weight"]

    def test_what_cannot_be_meant_is_refused(self):
        with pytest.raises(
            TypeError, match=r"overrides must map patterns to matrix, stack, rest, got \['up'\]"
        ):
            split_parameters(Mixed(), ["up"])
        with pytest.raises(ValueError, match="must be one of matrix, stack, rest, got 'muon'"):
            split_parameters(Mixed(), {"up.weight": "muon"})
        with pytest.raises(ValueError, match=r"trainable parameters' names, got 'upp\.\*'"):
            split_parameters(Mixed(), {"upp.*": "rest"})


def test_the_table_has_a_line_for_equal_layers():
    model = nn.Sequential(nn.Embedding(9, 8), *(perceptron(8, 8, 8) for _ in range(3)), nn.Linear(8, 9))
    table = [line.split() for line in str(split_parameters(model)).splitlines()]
    assert table == [
        ["kind", "parameter", "shape", "count", "reason"],
        ["rest", "0.weight", "9×8", "1", "embedding"],
        ["matrix", "*.*.weight", "8×8", "6", "hidden", "layer"],
        ["rest", "4.weight", "9×8", "1", "output:", "no", "other", "layer", "takes", "9"],
        ["rest", "4.bias", "9", "1", "vector"],
    ]
