"""What a profile says, as text: time by phase, and what a step consists of."""

from prism_compile._iteration.labels import PHASES

from ..common.tables import format_table
from .count import Work
from .trace import OUTSIDE, Compiled, Label, Piece

_SHOWN = {"sketch": "sketch and moments", "moments": "sketch and moments"}
_HEADER = ("phase", "ms", "of the run", "in products", "of product time")


def _shown(label: Label) -> str:
    """A label's phases as one row's name."""
    return str(Label(tuple(dict.fromkeys(_SHOWN.get(phase, phase) for phase in label.phases))))


def phase_table(title: str, pieces: list[Piece]) -> str:
    """Time by phase."""
    total = sum(piece.microseconds for piece in pieces)
    products = sum(piece.microseconds for piece in pieces if piece.product)
    order = {phase: i for i, phase in enumerate((*PHASES, "", OUTSIDE))}
    groups: dict[str, list[Piece]] = {}
    for piece in sorted(pieces, key=lambda p: [order[phase] for phase in (p.label.phases or ("",))]):
        groups.setdefault(_shown(piece.label), []).append(piece)

    def row(name: str, group: list[Piece]) -> tuple[str, ...]:
        time = sum(piece.microseconds for piece in group)
        in_products = sum(piece.microseconds for piece in group if piece.product)
        shares = f"{time / total:.1%}", f"{in_products / 1e3:.3f}", f"{time / products:.1%}"
        return name, f"{time / 1e3:.3f}", *shares

    rows = [row(name, group) for name, group in groups.items()]
    return format_table(_HEADER, [*rows, row("all", pieces)], title, total=True)


def _size(count: float, unit: str) -> str:
    return next(
        f"{count / scale:.3g} {prefix}{unit}"
        for scale, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""))
        if count >= scale or scale == 1
    )


def describe_step(step: Work, run: Work, n: int, batch: int) -> str:
    """What a step in the middle of the run does, eagerly."""
    cube = 2 * batch * n**3
    flops = step.product_flops + step.skinny_flops
    share = step.skinny_flops / flops if flops else 0.0
    lines = (
        f"products   {step.products} of at least n·n·n, {_size(step.product_flops, 'FLOP')}"
        f" = {step.product_flops / cube:.2f}·2n³",
        f"           {step.skinny} skinny ones of the fit, {_size(step.skinny_flops, 'FLOP')}"
        f" = {share:.2%} of the step's",
        f"eager      {step.products + step.skinny + step.others} kernels, {_size(step.bytes, 'B')}",
    )
    total = run.product_flops + run.skinny_flops
    return "\n".join((*lines, f"the run    {_size(total, 'FLOP')} = {total / cube:.2f}·2n³"))


def describe_compiled_step(compiled: Compiled) -> str:
    """Kernels and bytes of a step in the middle of the run, compiled."""
    steps = max((k.label.step for k in compiled.kernels if k.label.step is not None), default=0)
    step = min(1, steps) if steps < 2 else steps // 2
    names = [k.name for k in compiled.kernels if k.label.step == step]
    fused = sum(name.startswith("cpp_") for name in names)
    moved = _size(compiled.bytes_by_step.get(step, 0), "B")
    return (
        f"compiled   {len(names)} kernels ({fused} C++, the others products), {moved} in step {step};"
        f" the run {len(compiled.kernels)} kernels"
    )
