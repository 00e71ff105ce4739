"""Which of a model's parameters Muon is for."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import prod
from typing import Any, NamedTuple

from torch import nn

from ._roles import Roles, Weight, weights_of

_KINDS = ("matrix", "stack", "rest")
_BLOCK = re.compile(r"(?<![^.])\d+(?=\.)")


class Decision(NamedTuple):
    """What was decided on a parameter.

    `kind` is "matrix" (`[out, ...]` read as `[out, rest]`, in `blocks` matrices of equal height where a
    convolution has groups), "stack" (leading dimensions are a batch of matrices) or "rest".
    """

    name: str
    param: nn.Parameter
    kind: str
    reason: str
    blocks: int = 1


@dataclass(frozen=True, eq=False)
class ParameterSplit:
    """Decisions on a model's trainable parameters, in its order; printed, a table of them.

    It unpacks as `matrices, rest`: param groups of named parameters for `Muon` (with its `flatten`, and
    `heads` for grouped convolutions) and for AdamW or the like.
    """

    decisions: tuple[Decision, ...]

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        return iter((self.matrices, self.rest))

    @property
    def matrices(self) -> list[dict[str, Any]]:
        groups: dict[tuple[bool, int], list[tuple[str, nn.Parameter]]] = {}
        for each in self.decisions:
            if each.kind != "rest":
                groups.setdefault((each.kind == "matrix", each.blocks), []).append((each.name, each.param))
        return [
            {"params": params, "flatten": flatten, **({"heads": blocks} if blocks > 1 else {})}
            for (flatten, blocks), params in groups.items()
        ]

    @property
    def rest(self) -> list[dict[str, Any]]:
        params = [(each.name, each.param) for each in self.decisions if each.kind == "rest"]
        return [{"params": params}] if params else []

    def __str__(self) -> str:
        # Equal layers of numbered blocks share a line.
        lines: dict[tuple[str, str, str, str], list[str]] = {}
        for each in self.decisions:
            shape = "×".join(map(str, each.param.shape))
            line = each.kind, _BLOCK.sub("*", each.name), shape, each.reason
            lines.setdefault(line, []).append(each.name)
        rows = [("kind", "parameter", "shape", "count", "reason")]
        for (kind, pattern, shape, reason), names in lines.items():
            name = pattern if len(names) > 1 else names[0]
            rows.append((kind, name, shape, str(len(names)), reason))
        widths = [max(map(len, column)) for column in zip(*rows)]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def split_parameters(model: nn.Module, overrides: Mapping[str, str] | None = None) -> ParameterSplit:
    """Split a model's trainable parameters into the matrices for Muon and the rest.

    Muon is for hidden layers. By structure the rest are: vectors, embeddings and norms (classes with such
    names) and what is tied to an embedding; what a parametrisation makes a weight of; depthwise convolutions;
    convolutions of an image's channels; the first layer, where no other gives its inputs; the last, where no
    other takes its outputs (as of the number of classes), and layers as wide; layers of an embedding's shape,
    unless blocks repeat them; experts' routers. By name: the outputs of what is called `head`, `classifier`,
    `score` or the like, layers in `embed`, `router` or the like, parameters that lie in no layer and are not
    called `weight` or the like. Parameters of at least three dimensions that are no convolution's are stacks
    of matrices, as of experts. LoRA's factors go where the weight would that they adapt.

    Args:
        model: the whole model, wrapped (by `DistributedDataParallel`, say) or not.
        overrides: the kind of a `Decision` instead of the one that is found, by patterns of `fnmatch` for
            parameters' names, of which the first that fits is taken.

    Returns a `ParameterSplit`, in which a tied parameter appears once, by its first name.

    Raises TypeError or ValueError for overrides that are no mapping, fit no trainable parameter, have another
    kind, or make a matrix of fewer than two dimensions.

    Example:
        >>> from torch import nn
        >>> from prism_compile.optim import split_parameters
        >>> model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 6, bias=False), nn.Linear(6, 10))
        >>> matrices, rest = split_parameters(model)
        >>> [name for group in matrices for name, _ in group["params"]]
        ['1.weight']
        >>> print(split_parameters(model, {"2.*": "rest"}))
        kind    parameter  shape  count  reason
        rest    0.weight   10×4   1      embedding
        matrix  1.weight   6×4    1      hidden layer
        rest    2.weight   10×6   1      overrides["2.*"]
        rest    2.bias     10     1      overrides["2.*"]
    """
    weights = weights_of(model)
    roles = Roles(weights)
    uses: dict[nn.Parameter, list[Weight]] = {}
    for each in weights:
        if each.param.requires_grad:
            uses.setdefault(each.param, []).append(each)
    patterns = _checked({} if overrides is None else overrides, weights)
    return ParameterSplit(tuple(_decision(roles, patterns, own) for own in uses.values()))


def _checked(overrides: Mapping[str, str], weights: list[Weight]) -> Mapping[str, str]:
    if not isinstance(overrides, Mapping):
        raise TypeError(f"overrides must map patterns to {', '.join(_KINDS)}, got {overrides!r}")
    trainable = [each.name for each in weights if each.param.requires_grad]
    for pattern, kind in overrides.items():
        if kind not in _KINDS:
            raise ValueError(f"overrides[{pattern!r}] must be one of {', '.join(_KINDS)}, got {kind!r}")
        if not any(fnmatchcase(name, pattern) for name in trainable):
            raise ValueError(f"overrides must have patterns of trainable parameters' names, got {pattern!r}")
    return overrides


def _decision(roles: Roles, overrides: Mapping[str, str], uses: list[Weight]) -> Decision:
    """Decide on a parameter by all the names that it has."""
    first = uses[0]
    for pattern, kind in overrides.items():
        if any(fnmatchcase(each.name, pattern) for each in uses):
            if kind != "rest" and len(first.shape) < 2:
                raise ValueError(
                    f"overrides[{pattern!r}] must be 'rest' for parameters of fewer than 2 dimensions, "
                    f"got {kind!r} for {first.name} of shape {first.shape}"
                )
            blocks = first.groups if kind == "matrix" else 0
            return Decision(first.name, first.param, kind, f'overrides["{pattern}"]', max(blocks, 1))
    for each in uses:
        if reason := roles.reason(each):
            tied = "" if each is first else f", tied to {each.name}"
            return Decision(first.name, first.param, "rest", reason + tied)
    if first.groups:
        groups = f", {first.groups} groups" if first.groups > 1 else ""
        return Decision(first.name, first.param, "matrix", f"hidden convolution{groups}", first.groups)
    if len(first.shape) > 2:
        return Decision(first.name, first.param, "stack", f"stack of {prod(first.shape[:-2])} matrices")
    return Decision(first.name, first.param, "matrix", "hidden layer")
