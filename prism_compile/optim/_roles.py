"""A model's parameters as weights of its layers, and why Muon is not for some: by structure, then by name."""

import re
from collections import Counter
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
_EMBEDDING = re.compile(r"(\w+_)?(emb|embeds?|embeddings?|embedder)|embed_\w+|wte|wpe")
_HEAD = re.compile(r"(\w+_)?(heads?|classifiers?|classification|logits|scores?)|qa_outputs|bbox_pred")
_ROUTER = re.compile(r"(\w+_)?(router|gating)")
# The number of a block, not a layer's own in a Sequential.
_BLOCK = re.compile(r"(?<![^.])\d+(?=\.[^.]+\.)")
# Channels of an image, with a mask: 2 would leave images to Muon, 8 takes in layers of small networks.
_PICTURE = 4
# What says by itself that Muon is not for a weight, in this order.
_PLAIN = {
    "is_vector": "vector",
    "is_embedding": "embedding",
    "is_norm": "norm",
    "is_table": "a parameter of its own, not named as a weight",
    "is_parametrized": "parametrised: not the matrix that the layer applies",
    "is_depthwise": "depthwise convolution",
}


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
        is_convolution = len(self.shape) > 2 and _is(self.module, r"Conv(Transpose)?[123]d")
        return getattr(self.module, "groups", 1) if is_convolution else 0

    @property
    def is_depthwise(self) -> bool:
        return self.groups > 1 and (self.shape[1] == 1 or self.shape[0] == self.groups)

    @cached_property
    def is_embedding(self) -> bool:
        # The name of the class tells, so that other libraries' embeddings and norms are known too.
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
    def _sizes(self) -> tuple[set[int], set[int]]:
        if not self.is_oriented:
            return set(self.shape[-2:]), set(self.shape[-2:])
        sizes = {self.shape[0]}, {self.shape[1] * max(self.groups, 1)}
        return sizes if self.groups and _is(self.module, "Transpose") else sizes[::-1]

    @property
    def ins(self) -> set[int]:
        """Its layer's number of inputs; both sizes where it may be either."""
        return self._sizes[0]

    @property
    def outs(self) -> set[int]:
        """Its layer's number of outputs; both sizes where it may be either."""
        return self._sizes[1]


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
            layer, owner = name, module
            if parametrization := _PARAMETRIZATION.fullmatch(name):
                place, weight = parametrization.groups()
                layer, owner = f"{place}.{weight}".lstrip("."), modules[place]
            base = owner
            adapted = next((above for above in _above(path) if above in bases), None)
            if adapted is not None and not f"{path}.".startswith(f"{adapted}.base_layer.".lstrip(".")):
                layer, base = f"{adapted}.weight".lstrip("."), bases[adapted]
            found.append(Weight(name, _WRAPPERS.sub("", layer).lstrip("."), owner, base, param))
    return found


def _above(path: str) -> list[str]:
    """The names of a module and of those that it lies in, "" at last."""
    segments = path.split(".")
    return [".".join(segments[:count]) for count in range(len(segments), -1, -1)]


class Roles:
    """The roles of a model's weights; `reason(weight)` names the one that leaves it to another optimizer."""

    def __init__(self, weights: list[Weight]):
        self._layers = _layers(weights)
        blocks = Counter(map(_block, self._layers))
        self._repeated = {each.layer for each in self._layers if blocks[_block(each)] > 1}
        self._experts = _experts(weights)
        tables = [each for each in weights if each.is_embedding and each.name.endswith("weight")]
        widths = {size for each in weights if each.is_norm for size in each.shape}
        widths |= {each.shape[1] for each in tables}
        self._inner = _inner_convolutions(self._layers)
        pictures = _pictures(self._layers, self._inner)
        self._ends = self._vocabularies(tables, widths) | self._first_and_last(widths, pictures) | pictures
        self._heads = self._heads_by_name()

    def reason(self, weight: Weight) -> str | None:
        """Why Muon is not for a parameter; None where it is."""
        for name, why in _PLAIN.items():
            if getattr(weight, name):
                return why
        by_structure = self._ends.get(weight.layer) or self._router(weight)
        return by_structure or self._by_segments(weight) or self._heads.get(weight.layer)

    def _first_and_last(self, widths: set[int], pictures: dict[str, str]) -> dict[str, str]:
        """The first layer where nothing gives its inputs, the last where nothing takes its outputs."""
        if not self._layers:
            return {}
        first, last = self._layers[0], self._layers[-1]
        # Other inputs take nothing that a layer gives, though a model may take what it gives itself.
        inner = [
            each for each in self._layers[1:-1] if each.layer not in pictures and not self._by_segments(each)
        ]
        found: dict[str, str] = {}
        given = widths.union(*(each.outs for each in inner))
        if self._is_single(first) and not first.ins & given:
            found[first.layer] = f"input: no other layer gives {_sizes(first.ins)}"
        taken = widths.union(*(each.ins for each in inner))
        if self._is_single(last) and not last.outs & taken:
            # Auxiliary classifiers have the number of classes, too.
            for each in self._layers:
                if self._is_single(each) and each.outs == last.outs:
                    found[each.layer] = f"output: no other layer takes {_sizes(last.outs)}"
        return found

    def _is_single(self, weight: Weight) -> bool:
        return weight.is_oriented and weight.layer not in self._repeated

    def _vocabularies(self, tables: list[Weight], widths: set[int]) -> dict[str, str]:
        """Layers of the shape of an embedding of as many words as nothing has width, unless repeated."""
        names = {each.shape: each.name for each in reversed(tables) if each.shape[0] not in widths}
        return {
            each.layer: f"output: of the shape of {names[each.shape]}"
            for each in self._layers
            if each.shape in names and each.layer not in self._repeated
        }

    def _router(self, weight: Weight) -> str | None:
        for place, number in self._experts.items():
            inside = weight.layer.startswith(place) and "expert" not in weight.layer.removeprefix(place)
            if inside and len(weight.shape) == 2 and number in weight.outs:
                return f"router: a row for each of {number} experts"
        return None

    def _heads_by_name(self) -> dict[str, str]:
        """Layers in what is named as a head whose outputs no other layer in it takes, and none behind."""
        heads: dict[tuple[str, str], list[int]] = {}
        for number, each in enumerate(self._layers):
            path = self._segments(each)
            for place, segment in enumerate(path):
                if _HEAD.fullmatch(segment):
                    head = each.layer.rsplit(".", len(path) - place)[0]
                    heads.setdefault((head, segment), []).append(number)
        return {
            self._layers[number].layer: f'output: of "{segment}"'
            for (_, segment), members in heads.items()
            for number in members
            if not _is_taken(self._layers[number], self._layers[number + 1 :])
            and not _is_taken(self._layers[number], [self._layers[i] for i in members if i < number])
        }

    def _segments(self, weight: Weight) -> list[str]:
        """The segments of its layer's name, in repeated blocks those within the block."""
        is_repeated = weight.layer in self._repeated
        path = _BLOCK.split(weight.layer)[-1].strip(".") if is_repeated else weight.layer
        return path.split(".")[:-1]

    def _by_segments(self, weight: Weight) -> str | None:
        for segment in self._segments(weight):
            if _EMBEDDING.fullmatch(segment) and weight.layer not in self._inner:
                return f'embedding: in "{segment}"'
            if _ROUTER.fullmatch(segment):
                return f'router: in "{segment}"'
        return None


def _layers(weights: list[Weight]) -> list[Weight]:
    """One weight of each layer, in the model's order."""
    others = ("is_embedding", "is_norm", "is_table", "is_adapter")
    of_layers = [w for w in weights if len(w.shape) > 1 and not any(getattr(w, name) for name in others)]
    # Of a magnitude and a direction the direction counts, which comes last.
    return list({each.layer: each for each in of_layers}.values())


def _block(weight: Weight) -> tuple[str, tuple[int, ...]]:
    """What the layers of repeated blocks share: the name without the block's number, and the shape."""
    return _BLOCK.sub("*", weight.layer), weight.shape


def _experts(weights: list[Weight]) -> dict[str, int]:
    """The number of experts by the name of what has a child `experts`: that of stacks, or of its children."""
    stacks: dict[str, int] = {}
    children: dict[str, set[str]] = {}
    for each in weights:
        place, found, inside = each.layer.rpartition("experts.")
        if found and not place.rpartition(".")[2]:
            children.setdefault(place, set()).add(inside.partition(".")[0])
            if len(each.shape) > 2:
                stacks[place] = each.shape[0]
    return {place: stacks.get(place, len(inside)) for place, inside in children.items()}


def _inner_convolutions(layers: list[Weight]) -> set[str]:
    """Convolutions whose inputs a layer before gives."""
    given, found = set[int](), set[str]()
    for each in layers:
        if each.groups and each.ins & given:
            found.add(each.layer)
        given |= each.outs
    return found


def _pictures(layers: list[Weight], inner: set[str]) -> dict[str, str]:
    """Convolutions of channels so few that they are an image's, from no layer before or to none behind."""
    found = {}
    for number, each in enumerate(layers):
        if each.groups == 1 and max(each.ins) <= _PICTURE and each.layer not in inner:
            found[each.layer] = f"input: {_sizes(each.ins)} channels"
        elif each.groups == 1 and max(each.outs) <= _PICTURE and not _is_taken(each, layers[number + 1 :]):
            found[each.layer] = f"output: {_sizes(each.outs)} channels"
    return found


def _is_taken(weight: Weight, layers: list[Weight]) -> bool:
    return any(weight.outs & each.ins for each in layers)


def _sizes(sizes: set[int]) -> str:
    return " or ".join(map(str, sorted(sizes)))
