"""The errors as text: by spectrum, on the mean, and where a rule misses what the best of others reaches."""

from statistics import fmean, geometric_mean

from ..common.tables import format_table
from .measure import Results

_REFERENCE = "polar_express"
# A rule should nowhere be worse than the best of these by more than a factor and an offset.
BASELINES = ("polar_express", "jordan", "you", "CANS", "prism")
_FACTOR, _OFFSET = 1.02, 0.002
NOTES = f"""\
*            the row's best
mean ratio   geometric mean of the errors over {_REFERENCE}'s, with what is below {_OFFSET} taken as that
largest σ    in any result
PE Schatten  {_REFERENCE} with its margin of 1.01 on the Schatten norm instead of the Frobenius norm
CANS         quintics for K steps with a final deviation δ of 0.3, or of 0.01, by Schatten norm
miss         error > {_FACTOR} · least of ({", ".join(BASELINES)}) + {_OFFSET}"""


def _marked(errors: list[float]) -> list[str]:
    """Three digits each, the least with a star."""
    return [f"{error:#.3g}" + ("*" if error == min(errors) else " ") for error in errors]


def _means(results: Results, steps: int) -> tuple[list[str], list[str]]:
    """Of each method over the spectra: of the errors, and of their ratios to Polar Express'."""
    errors = {method: [figure.error for figure in own[steps].values()] for method, own in results.items()}
    ratios = [
        geometric_mean(max(a, _OFFSET) / max(b, _OFFSET) for a, b in zip(own, errors[_REFERENCE]))
        for own in errors.values()
    ]
    return _marked([fmean(own) for own in errors.values()]), _marked(ratios)


def steps_table(results: Results, families: dict[str, list[str]], steps: int, rows_too: bool) -> str:
    """All spectra and the means after a number of steps."""
    rows = []
    for family, names in families.items() if rows_too else ():
        for i, name in enumerate(names):
            errors = [by_steps[steps][name].error for by_steps in results.values()]
            rows.append(("" if i else family, name, *_marked(errors)))
    means, ratios = _means(results, steps)
    largest = [max(f.largest for f in by_steps[steps].values()) for by_steps in results.values()]
    rows += [("all", "mean", *means), ("", "mean ratio", *ratios)]
    rows.append(("", "largest σ", *(f"{value:#.3g} " for value in largest)))
    header = ("family", "spectrum", *(f"{method} " for method in results))
    return format_table(header, rows, f"K = {steps} steps", left=(0, 1))


def misses(results: Results, rule: str, steps: int) -> list[str]:
    """A line for each spectrum on which a rule fails the bar, with its error and the best baseline's."""
    lines = []
    baselines = [name for name in BASELINES if name in results and name != rule]
    for name, figure in results[rule][steps].items():
        best = min(baselines, key=lambda method: results[method][steps][name].error)
        least = results[best][steps][name].error
        # Written so that a result that is not a number misses.
        if not figure.error <= _FACTOR * least + _OFFSET:
            lines.append(f"  K={steps}  {name:<28}  {rule} {figure.error:#.3g}  {best} {least:#.3g}")
    return lines


def summary_table(results: Results, rule: str, missed: dict[int, list[str]]) -> str:
    """The means by number of steps."""
    rows = []
    for steps, lines in missed.items():
        means, ratios = _means(results, steps)
        rows += [(f"K = {steps}", "mean", *means, str(len(lines))), ("", "mean ratio", *ratios, "")]
    header = ("steps", "", *(f"{method} " for method in results), f"misses of {rule}")
    return format_table(header, rows, f"Means over {len(results[rule][steps])} spectra", left=(0, 1))
