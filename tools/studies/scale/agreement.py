"""The model held against processes that run."""

from ..common.tables import format_table
from .child import SHARDS
from .lists import LISTS, SCHEMES, Scheme
from .measure import measured
from .model import work_of

_FREQUENCY = 2
# Blocks of a small list, so that most weights have several.
_SMALL = {
    "Muon": {},
    "Shampoo": {"max_preconditioner_dim": 48, "precondition_frequency": _FREQUENCY},
}
_ALLOWED = {"sent": 0.01, "flops": 0.05}
# What is compared, and what of it a unit of the table is.
_KINDS = {"sent": ("kB sent", 1e3), "flops": ("MFLOP", 1e6)}


def _off(found: list[float], expected: list[float]) -> float:
    """The largest relative difference of any process."""
    return max(abs(a - b) / max(a, b, 1e-300) for a, b in zip(found, expected))


def _compared(scheme: Scheme, key: str, found: dict[int, list[dict]], name: str) -> tuple[list[float], float]:
    """The largest number of any process for each number of them, and how far the model is off at most."""
    largest, differences = [], []
    for world, processes in found.items():
        own = [process[scheme.name][key] for process in processes]
        _, work = work_of(scheme, LISTS[name], scheme.grid(world, SHARDS), _SMALL)
        largest.append(max(own))
        differences.append(_off(own, list(getattr(work, key).flat)))
    return largest, max(differences)


def compare(worlds: list[int], name: str = "small") -> bool:
    """Print what was measured, and how far the model is off; whether they agree."""
    found = {world: measured(world, name, _FREQUENCY, _SMALL) for world in worlds}
    rows, agree = [], True
    for scheme in SCHEMES:
        cells = []
        for key, (_, unit) in _KINDS.items():
            largest, difference = _compared(scheme, key, found, name)
            agree = agree and difference <= _ALLOWED[key]
            cells += [*(f"{number / unit:.1f}" for number in largest), f"{difference:.2%}"]
        rows.append((scheme.name, *cells))
    header = [cell for title, _ in _KINDS.values() for cell in (*(f"{title}, {w}" for w in worlds), "off")]
    what = f"Measured per step by processes that run, list {name}: the largest; off: the model, from any"
    print(format_table(("", *header), rows, what))
    return agree
