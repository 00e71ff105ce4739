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


def parametrised(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*(nn.utils.parametrizations.weight_norm(layer) for layer in layers))


def moe(experts: nn.Module) -> nn.Module:
    layer = {"gate": nn.Linear(8, 8), "experts": experts, "shared_expert": nn.Linear(8, 8)}
    return inner(nn.ModuleDict(layer))


def linears(count: int) -> nn.ModuleList:
    return nn.ModuleList(nn.Linear(8, 8) for _ in range(count))


class Stacked(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate_up_proj = nn.Parameter(torch.zeros(8, 5, 12))
        self.gate_up_proj_bias = nn.Parameter(torch.zeros(8, 12))


class Adapter(nn.Module):
    """As peft's LoRA wraps a layer."""

    def __init__(self, base_layer):
        super().__init__()
        self.base_layer = base_layer
        self.lora_A = nn.Linear(base_layer.in_features, 2, bias=False)
        self.lora_B = nn.Linear(2, base_layer.out_features, bias=False)


def depthwise(kind: nn.Module) -> nn.Sequential:
    return inner(nn.Conv1d(8, 4, 1), nn.Conv1d(8, 4, 1), nn.Conv1d(4, 8, 1), kind)


def image(channels: int) -> nn.Sequential:
    convolutions = nn.Conv2d(channels, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, channels, 3)
    return inner(perceptron(8, 8), *convolutions)


HEADS = {
    "policy_head": perceptron(8, 8, 3),
    "conv_head": perceptron(8, 24),
    "decode_head": nn.ModuleDict({"classifier": nn.Linear(12, 5), "fuse": nn.Linear(8, 12)}),
    "heads": nn.ModuleDict({"boxes": perceptron(24, 6), "classes": perceptron(24, 7)}),
    "last": perceptron(24, 9),
}
AUXILIARY = {
    "stem": nn.Conv2d(3, 8, 3),
    "aux": perceptron(8, 8, 5),
    "body": perceptron(8, 8),
    "fc": perceptron(8, 5),
}
VOCABULARY = {"tokens": nn.Embedding(16, 8), "words": nn.Linear(8, 16), "vision": perceptron(16, 8)}
# DLA has a stage of the name of an adapted layer.
STAGE = {"base_layer": perceptron(3, 8, 8), "level": perceptron(8, 8), "fc": perceptron(8, 5)}
STEM = {"patch_embed": nn.Sequential(nn.Conv2d(6, 8, 3), nn.Conv2d(8, 8, 3))}
ENDS = {
    "all are ends": (perceptron(784, 64, 10), []),
    "one is hidden": (perceptron(784, 64, 64, 10), ["1.weight"]),
    "an autoencoder takes what it gives": (perceptron(784, 64, 16, 64, 784), ["1.weight", "2.weight"]),
    "convolutions": (
        nn.Sequential(nn.Conv1d(5, 9, 3), nn.Conv1d(9, 9, 3), nn.ConvTranspose1d(9, 5, 3)),
        ["1.weight"],
    ),
    "convolutions whose sizes meet": (
        nn.Sequential(nn.Conv1d(5, 8, 3), nn.ConvTranspose1d(9, 7, 3), nn.Conv1d(7, 9, 3)),
        ["1.weight", "2.weight"],
    ),
    "nothing tells the ends of a part": (inner(perceptron(8, 16, 8)), ["1.0.weight", "1.1.weight"]),
    "nor of repeated blocks": (nn.Sequential(perceptron(8, 8, 24), perceptron(8, 8, 24)), 4),
    "no layer of its own": (nn.LSTM(8, 8), ["weight_ih_l0", "weight_hh_l0"]),
    "an auxiliary classifier of as many classes": (
        nn.ModuleDict(AUXILIARY),
        ["aux.0.weight", "body.0.weight"],
    ),
    "a layer of the vocabulary's shape": (
        nn.Sequential(nn.ModuleDict(VOCABULARY), nn.LayerNorm(8)),
        ["0.vision.0.weight"],
    ),
    "repeated, it is none": (
        nn.Sequential(nn.Embedding(16, 8), perceptron(8, 16, 8), perceptron(8, 16, 8), nn.LayerNorm(8)),
        4,
    ),
    "nor as wide as others": (
        nn.Sequential(nn.Embedding(8, 8), perceptron(8, 8), nn.LayerNorm(8)),
        ["1.0.weight"],
    ),
    **{f"{n} channels": (image(n), right) for n, right in {3: 2, 4: 2, 5: 4}.items()},
    "channels that layers give and take": (inner(nn.Conv2d(8, 3, 1), nn.Conv2d(3, 8, 1)), 2),
    "depthwise": (depthwise(nn.Conv1d(4, 8, 3, groups=4)), 3),
    "depthwise, fewer outputs": (depthwise(nn.Conv1d(8, 4, 3, groups=4)), 3),
    "depthwise, transposed": (depthwise(nn.ConvTranspose1d(4, 4, 3, groups=4)), 3),
    "heads end in outputs": (
        nn.Sequential(nn.Embedding(10, 8), nn.ModuleDict(HEADS)),
        ["1.policy_head.0.weight", "1.conv_head.0.weight", "1.decode_head.fuse.weight"],
    ),
    "no embedding of what layers give": (inner(nn.ModuleDict(STEM)), ["1.patch_embed.1.weight"]),
    "a router of stacked experts": (moe(Stacked()), ["1.experts.gate_up_proj", "1.shared_expert.weight"]),
    "a router of single experts": (moe(linears(8)), 9),
    "a gate of another number": (moe(linears(4)), 6),
    "a parametrised layer gives what the next takes": (
        inner(*parametrised(nn.Conv1d(8, 4, 3)), nn.Conv1d(4, 8, 3)),
        ["2.weight"],
    ),
    "parametrised before it": (
        nn.Sequential(*parametrised(nn.Conv1d(12, 16, 3)), nn.Conv1d(16, 20, 3), nn.Linear(20, 7)),
        ["1.weight"],
    ),
    "parametrised itself": (
        nn.Sequential(*parametrised(nn.Conv1d(12, 16, 3), nn.Conv1d(16, 20, 3)), nn.Linear(20, 7)),
        [],
    ),
    # 8 is what the adapted layer takes.
    "adapters of a hidden layer": (
        nn.Sequential(
            nn.Embedding(9, 12), *perceptron(12, 12), Adapter(*perceptron(8, 12)), *perceptron(12, 8)
        ),
        ["1.weight", "2.base_layer.weight", "2.lora_A.weight", "2.lora_B.weight", "3.weight"],
    ),
    "adapters of an output": (
        nn.Sequential(nn.Embedding(9, 12), *perceptron(12, 12), Adapter(*perceptron(12, 5))),
        ["1.weight"],
    ),
    "a stage that is no adapter": (nn.ModuleDict(STAGE), ["base_layer.1.weight", "level.0.weight"]),
    "names of what lies in no layer": (inner(Tables(), nn.LayerNorm((4, 8)), RMSNorm()), ["1.out_proj"]),
    "norms at last hide no output": (
        nn.Sequential(nn.Embedding(9, 8), nn.Linear(8, 5), nn.LayerNorm((4, 8))),
        [],
    ),
    **{
        f"wrapped in {prefix}": (wrap(perceptron(6, 8, 8, 2)), [f"{prefix}.1.weight"])
        for prefix, wrap in {"module": Wrapper, "_orig_mod": torch.compile}.items()
    },
}


@pytest.mark.parametrize(("model", "right"), ENDS.values(), ids=ENDS)
def test_what_is_hidden(model, right):
    """right: the names of the matrices, or their number."""
    found = matrices(model)
    assert (len(found) if isinstance(right, int) else found) == right


@pytest.mark.parametrize("name", ["heads", "embed", "router"])
def test_what_lies_above_repeated_blocks_does_not_name_their_layers(name):
    blocks = nn.ModuleList(nn.ModuleDict({"key": nn.Linear(8, 6, bias=False)}) for _ in range(3))
    assert len(matrices(inner(nn.ModuleDict({name: blocks})))) == 3
    blocks = nn.ModuleList(nn.ModuleDict({name: nn.Linear(8, 6, bias=False)}) for _ in range(3))
    assert matrices(inner(blocks)) == []
    single = nn.ModuleList([nn.ModuleDict({"key": nn.Linear(8, 8, bias=False)})])
    assert matrices(inner(nn.ModuleDict({name: single}))) == []


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
