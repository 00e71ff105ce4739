"""Which of a model's parameters Muon is for."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from torch import nn

Named = tuple[str, nn.Parameter]


class ParameterSplit(NamedTuple):
    """Named parameters: `matrices` for Muon, `rest` for AdamW or the like."""

    matrices: list[Named]
    rest: list[Named]


def _root(model: nn.Module) -> nn.Module:
    """The model inside wrappers: modules with a single child and no parameters of their own."""
    while len(children := list(model.children())) == 1 and not list(model.parameters(recurse=False)):
        if isinstance(model, (nn.Sequential, nn.ModuleList, nn.ModuleDict)):
            break
        (model,) = children
    return model


def _is_table_or_norm(module: nn.Module) -> bool:
    # By name, so that other libraries' embeddings and norms are known too.
    return any("Embedding" in kind.__name__ or "Norm" in kind.__name__ for kind in type(module).__mro__)


def _owned(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, nn.Parameter]]:
    """(name of the module, module, name in it, parameter) of each trainable parameter, ties repeated."""
    for path, module in model.named_modules():
        for name, param in module.named_parameters(recurse=False, remove_duplicate=False):
            if param.requires_grad:
                yield path, module, name, param


def _is_matrix(path: str, module: nn.Module, name: str, param: nn.Parameter, last: nn.Module | None) -> bool:
    own_name = path.rpartition(".")[2]
    is_head = module is last or own_name == "head" or own_name.endswith("_head")
    is_weight = name == "weight" or name.endswith("_weight")
    return param.ndim >= 2 and is_weight and not is_head and not _is_table_or_norm(module)


def split_parameters(
    model: nn.Module, select: Callable[[str, nn.Parameter], bool | None] | None = None
) -> ParameterSplit:
    """Split a model's trainable parameters into the matrices for Muon and the rest.

    `matrices` are the parameters of at least two dimensions named `weight` or `…_weight`, but for those
    of embeddings and norms (classes with Embedding or Norm in their name or a base's), those of heads
    (modules named `head` or `…_head`, and the last linear layer among the model's direct children), and
    those tied to one of these. Everything else is the `rest`. A tied parameter appears once, by its first
    name.

    Args:
        model: the whole model, wrapped (by `DistributedDataParallel`, say) or not.
        select: decides instead of the rule where it returns True (a matrix) or False (the rest) and not
            None; it is called with each parameter's name and the parameter.

    Returns:
        `ParameterSplit(matrices, rest)`, lists of `(name, parameter)` for `Muon` and `torch.optim.AdamW`.

    Raises:
        ValueError: `select` takes a parameter of fewer than two dimensions for a matrix.

    Example:
        >>> from torch import nn
        >>> from prism_compile.optim import split_parameters
        >>> model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 4), nn.Linear(4, 10))
        >>> [name for name, _ in split_parameters(model).matrices]
        ['1.weight']
    """
    linear = [child for child in _root(model).children() if isinstance(child, nn.Linear)]
    last = linear[-1] if linear else None
    names: dict[nn.Parameter, str] = {}
    matrix: dict[nn.Parameter, bool] = {}
    for path, module, name, param in _owned(model):
        names.setdefault(param, f"{path}.{name}" if path else name)
        matrix[param] = matrix.get(param, True) and _is_matrix(path, module, name, param, last)
    split = ParameterSplit([], [])
    for param, name in names.items():
        chosen = None if select is None else select(name, param)
        if chosen and param.ndim < 2:
            raise ValueError(
                f"select may take parameters of at least 2 dimensions for matrices, "
                f"got {name} of shape {tuple(param.shape)}"
            )
        wanted = matrix[param] if chosen is None else chosen
        (split.matrices if wanted else split.rest).append((name, param))
    return split
