"""A model's parameters as the weights of its layers."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod

from torch import nn

# What peft puts around a layer, or around copies of it.
_WRAPPERS = re.compile(r"(^|\.)(base_layer|original_module|modules_to_save\.[^.]+)(?=\.)")
_PARAMETRIZATION = re.compile(r"(.*?)\.?parametrizations\.([^.]+)\.original\d?")
# Words in the name of a matrix that no layer owns ...
_MATRIX = re.compile(r"(.*_)?(weight|kernel|proj|projection|w)(\d|_|$)")
# ... and in that of what is none, though it has as many dimensions.
_TABLE = re.compile(r"(.*_)?(bias|embed|embedding|pos|position|token|table|scale|codebook|log)(s?_|s?$)")
_CONVOLUTION = r"Conv(Transpose)?[123]d"


def _is(module: nn.Module, name: str) -> bool:
    """Whether its class, or one that it derives from, has a name that the pattern is found in."""
    return any(re.search(name, each.__name__) for each in type(module).__mro__)


@dataclass(frozen=True, eq=False)
class Weight:
    """A parameter by one of its names.

    `layer` is its name without wrappers; for an adapter's parameter (LoRA) that of the weight which it
    adapts. `module` owns it, through a parametrisation too; `base` is the module that an adapter adapts, and
    `module` for others.
    """

    name: str
    layer: str
    module: nn.Module
    base: nn.Module
    param: nn.Parameter

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.param.shape)

    @property
    def is_adapter(self) -> bool:
        return self.base is not self.module

    @property
    def is_parametrized(self) -> bool:
        return bool(_PARAMETRIZATION.fullmatch(self.name))

    @property
    def is_vector(self) -> bool:
        return prod(self.shape) == max(self.shape, default=1)

    @cached_property
    def groups(self) -> int:
        """Groups of a convolution; 0 for what is no convolution."""
        is_convolution = len(self.shape) > 2 and _is(self.module, _CONVOLUTION)
        return getattr(self.module, "groups", 1) if is_convolution else 0

    @property
    def is_depthwise(self) -> bool:
        return self.groups > 1 and (self.shape[1] == 1 or self.shape[0] == self.groups)

    @cached_property
    def is_embedding(self) -> bool:
        # By name, so that other libraries' embeddings and norms are known too.
        return _is(self.base, "Embedding")

    @cached_property
    def is_norm(self) -> bool:
        return _is(self.module, r"Norm(\dd)?$")

    @cached_property
    def is_oriented(self) -> bool:
        """Whether it is known which size is that of its inputs."""
        return self.groups > 0 or _is(self.module, "Linear")

    @cached_property
    def is_table(self) -> bool:
        """Whether it lies in no layer and is named unlike a matrix: positions, tokens, biases by expert."""
        name = self.name.rpartition(".")[2]
        dims = len(self.shape) - (self.shape[0] == 1)
        return bool(_TABLE.match(name)) or (dims < 3 and not _MATRIX.match(name))

    @cached_property
    def ins(self) -> set[int]:
        """Its layer's number of inputs; both sizes where it may be either."""
        if self.groups and _is(self.module, "Transpose"):
            return {self.shape[0]}
        if self.groups:
            return {self.shape[1] * self.groups}
        return {self.shape[1]} if self.is_oriented else set(self.shape[-2:])

    @cached_property
    def outs(self) -> set[int]:
        """Its layer's number of outputs; both sizes where it may be either."""
        if self.groups and _is(self.module, "Transpose"):
            return {self.shape[1] * self.groups}
        return {self.shape[0]} if self.is_oriented else set(self.shape[-2:])


def weights_of(model: nn.Module) -> list[Weight]:
    """All parameters by all of their names, in the model's order, frozen ones among them."""
    modules = dict(model.named_modules())
    # peft's wraps a layer; other models have whole stages of the name.
    bases = {
        path.removesuffix("base_layer").removesuffix("."): base
        for path, base in modules.items()
        if path.rpartition(".")[2] == "base_layer" and list(base.parameters(recurse=False))
    }
    found = []
    for path, module in modules.items():
        for own_name, param in module.named_parameters(recurse=False, remove_duplicate=False):
            name = f"{path}.{own_name}" if path else own_name
            layer, base = name, module
            if parametrization := _PARAMETRIZATION.fullmatch(name):
                owner, weight = parametrization.groups()
                layer, base = f"{owner}.{weight}" if owner else weight, modules[owner]
                module = base
            adapted = next((above for above in _above(path) if above in bases), None)
            if adapted is not None and not f"{path}.".startswith(f"{adapted}.base_layer.".lstrip(".")):
                layer, base = f"{adapted}.weight".lstrip("."), bases[adapted]
            found.append(Weight(name, _WRAPPERS.sub("", layer).lstrip("."), module, base, param))
    return found


def _above(path: str) -> Iterator[str]:
    """The names of a module and of those that it lies in, "" at last."""
    while path:
        yield path
        path = path.rpartition(".")[0]
    yield ""
