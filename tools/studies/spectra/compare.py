"""The rules' errors on the suite, on the mean, and where one misses what the best of others reaches."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from statistics import fmean, geometric_mean

import torch
from torch import Tensor

from prism_compile import polar

from ..common import RULES
from ..common.matrices import deviations
from ..common.peers import cans
from ..common.results import format_table
from .suite import suite

STEPS = (3, 4, 5, 6, 7, 8)
_REFERENCE = "polar_express"
# A rule should nowhere be worse than the best of these by more than a factor and an offset.
BASELINES = ("polar_express", "jordan", "you", "CANS", "prism")
_FACTOR, _OFFSET = 1.02, 0.002
SCHATTEN_NOTE = f"""\
PE Schatten  {_REFERENCE} with its margin of 1.01 on the Schatten norm instead of the Frobenius norm"""
NOTES = f"""\
*            the row's best
mean ratio   geometric mean of the errors over {_REFERENCE}'s, with what is below {_OFFSET} taken as that
{SCHATTEN_NOTE}
CANS         quintics for K steps with a final deviation δ of 0.3, or of 0.01, by Schatten norm
miss         error > {_FACTOR} · least of ({", ".join(BASELINES)}) + {_OFFSET}"""

# rms(1-σ) by method, number of steps and spectrum.
Errors = Mapping[str, Mapping[int, Mapping[str, float]]]

# The polar factor of a batch `[b, m, n]` by `steps`: the rules, each with its own scaling, and peers.
METHODS: dict[str, Callable[..., Tensor]] = {
    **{rule: partial(polar, rule=rule) for rule in RULES},
    "PE Schatten": partial(polar, rule="polar_express", scaling="schatten"),
    **{"CANS": cans, "CANS 0.01": partial(cans, delta=0.01)},
}


@cache
def _batches(n: int, training_steps: int) -> tuple[dict[str, Tensor], ...]:
    """The suite's matrices by name, those of one shape together, float32."""
    by_shape: dict[torch.Size, dict[str, Tensor]] = {}
    for matrices in suite(n, training_steps).values():
        for name, A in matrices.items():
            by_shape.setdefault(A.shape, {})[name] = A.float()
    return tuple(by_shape.values())


def measure(method: str, steps: Iterable[int], n: int, training_steps: int) -> dict[int, dict[str, float]]:
    """The errors of a method by number of steps and spectrum."""
    measured: dict[int, dict[str, float]] = {}
    for count in steps:
        for batch in _batches(n, training_steps):
            errors = deviations(METHODS[method](torch.stack(list(batch.values())), steps=count))
            measured.setdefault(count, {}).update(zip(batch, errors.tolist()))
    return measured


def _marked(errors: list[float]) -> list[str]:
    """Three digits each, the least with a star."""
    return [f"{error:#.3g}" + ("*" if error == min(errors) else " ") for error in errors]


def _means(found: Errors, steps: int) -> tuple[list[str], list[str]]:
    """Of each method over the spectra: of the errors, and of their ratios to the reference's."""
    errors = {method: list(own[steps].values()) for method, own in found.items()}
    ratios = [
        geometric_mean(max(a, _OFFSET) / max(b, _OFFSET) for a, b in zip(own, errors[_REFERENCE]))
        for own in errors.values()
    ]
    return _marked([fmean(own) for own in errors.values()]), _marked(ratios)


def steps_table(found: Errors, families: Mapping[str, Iterable[str]], steps: int) -> str:
    """The spectra of the families, and the means over all, after a number of steps."""
    rows = []
    for family, names in families.items():
        for i, name in enumerate(names):
            rows.append(("" if i else family, name, *_marked([own[steps][name] for own in found.values()])))
    means, ratios = _means(found, steps)
    rows += [("all", "mean", *means), ("", "mean ratio", *ratios)]
    header = ("family", "spectrum", *(f"{method} " for method in found))
    return format_table(header, rows, f"K = {steps} steps", left=(0, 1))


def misses(found: Errors, rule: str, steps: int) -> list[str]:
    """A line for each spectrum on which a rule fails the bar, with its error and the best baseline's."""
    lines, baselines = [], [name for name in BASELINES if name in found and name != rule]
    for name, error in found[rule][steps].items():
        best = min(baselines, key=lambda method: found[method][steps][name])
        least = found[best][steps][name]
        # Written so that a result that is not a number misses.
        if not error <= _FACTOR * least + _OFFSET:
            lines.append(f"  K={steps}  {name:<28}  {rule} {error:#.3g}  {best} {least:#.3g}")
    return lines


def summary_table(found: Errors, rule: str, missed: dict[int, list[str]]) -> str:
    """The means by number of steps."""
    rows = []
    for steps, lines in missed.items():
        means, ratios = _means(found, steps)
        rows += [(f"K = {steps}", "mean", *means, str(len(lines))), ("", "mean ratio", *ratios, "")]
    header = ("steps", "", *(f"{method} " for method in found), f"misses of {rule}")
    return format_table(
        header, rows, f"Means over {len(next(iter(found[rule].values())))} spectra", left=(0, 1)
    )
