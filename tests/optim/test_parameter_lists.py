"""split_parameters on the parameters of real models.

Each file of `models` lists a real model's parameters: what is right ("frozen": nothing), its name, the class
of its module, its shape (or `=` and the name that it is tied to), the groups of a convolution. Of layers that
blocks repeat the first two are there, of vectors one norm of each width.
"""

from pathlib import Path

import pytest
import torch
from torch import nn

from prism_compile.optim import split_parameters

MODELS = sorted((Path(__file__).parent / "models").glob("*.txt"))


def listed(path: Path) -> tuple[nn.Module, dict[str, str]]:
    """A model of a file's names, classes and shapes, and what is right for its trainable parameters."""
    model, right = nn.Module(), {}
    for line in path.read_text().splitlines()[1:]:
        kind, name, owner, shape, *groups = line.split()
        *above, own_name = name.split(".")
        module = model
        for place, segment in enumerate(above, 1):
            if segment not in dict(module.named_children()):
                new = owner if place == len(above) else "Module"
                module.add_module(segment, type(new, (nn.Module,), {})())
            module = module.get_submodule(segment)
        if groups:
            module.groups = int(groups[0].removeprefix("groups="))
        if shape.startswith("="):
            module.register_parameter(own_name, model.get_parameter(shape[1:]))
            continue
        size = torch.empty([int(part) for part in shape.split("x")], device="meta")
        module.register_parameter(own_name, nn.Parameter(size, kind != "frozen"))
        if kind != "frozen":
            right[name] = kind
    return model, right


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_real_models(path):
    model, right = listed(path)
    found = {each.name: each.kind for each in split_parameters(model).decisions}
    assert found == right


def test_there_are_lists_of_all_kinds():
    found = {kind for path in MODELS for kind in listed(path)[1].values()}
    assert found == {"matrix", "stack", "rest"}
    assert len(MODELS) >= 30
