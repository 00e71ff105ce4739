"""The limit of the rules: the least error that any K odd quintics reach on a spectrum known exactly."""

import torch
from torch import Tensor

from prism_compile import polar

from ..common import RULES
from ..common.peers import cans_quintics
from ..common.results import format_table
from .compare import SCHATTEN_NOTE, measure
from .suite import suite

# Final deviations of the minimax compositions among the starts: the smaller, the shorter the spectrum.
_DEVIATIONS = (0.01, 0.03, 0.1, 0.2, 0.4, 0.6, 0.8)
_SPREADS = (0.01, 0.03, 0.1)
_KEPT = 10
_ITERATIONS, _LAST_ITERATIONS = 200, 1000
# Below the floor the digits tell when the search stopped; at `enough` it does.
FLOOR, _ENOUGH = 1e-4, 1e-8
# A damping with which a move no longer changes anything.
_STUCK = 1e12
ROWS = (
    *("Gaussian 1:1", "log-spaced to 1e-3", "rank n/3, noise 0.03"),
    *("log-spaced to 1e-4", "Student-t 1.5", "Gaussian 4:1", "1 × 100 on Gaussian", "half at 0.1"),
    "power law 1",
)
LIMIT_NOTES = f"""\
limit        least found of any K odd quintics by a search from many starts, the singular values known
< {FLOOR:g}     what is found below it depends on how long the search is
{SCHATTEN_NOTE}"""


def chosen_quintics(values: Tensor, rule: str, steps: int, scaling: str | None = None) -> Tensor:
    """The quintics `[steps, 3]` that a rule takes on singular values `[n]`, float64, the largest 1.

    The history has g(R) of each step; R = I - x² makes a + b x² + c x⁴ of it. What the first step scales by
    is found from its residual, whose mean square is a quadratic in the scale's square, and put into it.
    """
    _, history = polar(values.diag(), steps=steps, rule=rule, scaling=scaling, history=True, form="direct")
    g0, g1, g2 = history.coefficients.unbind(-1)
    quintics = torch.stack([g0 + g1 + g2, -g1 - 2 * g2, g2], dim=1)
    x = values.square()
    middle, spread = x.mean() / x.square().mean(), (1 - history.residual[0] ** 2) / x.square().mean()
    # Scaled values are at most one: of both roots it is the smaller.
    square = middle - (middle * middle - spread).clamp(min=0).sqrt()
    quintics[0] *= square ** torch.tensor([0.5, 1.5, 2.5], dtype=values.dtype)
    return quintics


def composed(coefficients: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """q_K(… q_1(σ)) `[s, n]` and its Jacobian `[s, n, 3K]`, for coefficients `[s, 3K]` and values `[n]`.

    q_k(x) = a_k x + b_k x³ + c_k x⁵; ∂/∂(a_k, b_k, c_k) = q_K' … q_{k+1}' (x, x³, x⁵) at the x before step k.
    """
    x = values.expand(len(coefficients), -1)
    jacobian = x.new_empty(*x.shape, 0)
    for quintic in coefficients.split(3, dim=1):
        a, b, c = quintic[:, None].unbind(-1)
        square = x * x
        slope = a + square * (3 * b + 5 * c * square)
        own = torch.stack([x, x * square, x * square * square], dim=-1)
        jacobian = torch.cat([jacobian * slope[..., None], own], dim=-1)
        x = x * (a + square * (b + c * square))
    return x, jacobian


def _search(coefficients: Tensor, values: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """Levenberg–Marquardt on Σ (1 - q(σ))², all starts `[s, 3K]` at once: where they end and their losses.

    A move p minimises |J p - (1 - q)|² + μ |D p|², D the norms of J's columns; it is made, and μ lowered,
    only where it lowers the loss.
    """
    q, J = composed(coefficients, values)
    loss = (1 - q).square().sum(1)
    damping = torch.full_like(loss, 1e-2)
    for _ in range(iterations):
        scale = J.norm(dim=1).clamp(min=1e-100)
        damped = torch.cat([J, torch.diag_embed(damping.sqrt()[:, None] * scale)], dim=1)
        Q, R = torch.linalg.qr(damped)
        right = Q[:, : len(values)].mT @ (1 - q)[..., None]
        moved = coefficients + torch.linalg.solve_triangular(R, right, upper=True)[..., 0]
        q_moved, J_moved = composed(moved, values)
        loss_moved = (1 - q_moved).square().sum(1)
        # False for what is not a number.
        better = loss_moved < loss
        damping = torch.where(better, damping / 5, damping * 3).clamp(1e-18, 1e18)
        coefficients = torch.where(better[:, None], moved, coefficients)
        q, J = torch.where(better[:, None], q_moved, q), torch.where(better[:, None, None], J_moved, J)
        loss = torch.where(better, loss_moved, loss)
        if damping.min() > _STUCK:
            break
    return coefficients, loss


def _starts(values: Tensor, steps: int) -> Tensor:
    """Coefficients `[s, 3K]` of the rules and of minimax compositions."""
    pairs = [*((rule, None) for rule in RULES), ("polar_express", "schatten")]
    plans = [chosen_quintics(values, rule, steps, scaling) for rule, scaling in pairs]
    plans += [values.new_tensor(cans_quintics(steps, delta, 1.0)[0]) for delta in _DEVIATIONS]
    return torch.stack(plans).flatten(1)


def _with_neighbours(starts: Tensor, values: Tensor, copies: int, generator: torch.Generator) -> Tensor:
    """These and random ones near each, of relative deviations in turn; without those that overflow."""
    near = [starts]
    for i in range(copies):
        noise = torch.randn(starts.shape, dtype=starts.dtype, generator=generator)
        near.append(starts * (1 + _SPREADS[i % len(_SPREADS)] * noise))
    near = torch.cat(near)
    q, J = composed(near, values)
    return near[q.isfinite().all(1) & J.isfinite().flatten(1).all(1)]


def limit(values: Tensor, steps: int, copies: int = 6, rounds: int = 4) -> float:
    """Least rms(1 - σ) of any odd quintics q_1 … q_K on known singular values, with K = `steps`.

        min over all 3K coefficients of √(Σ_i (1 - q_K(… q_1(σ_i)))² / n),   σ scaled to a largest one of 1

    The problem is not convex: this is the best of a local search from many starts, so an upper bound of the
    true least. Equal calls give equal results.

    Args:
        values: singular values `[n]`.
        copies: random starts near each of the others.
        rounds: how often the search starts again near the best.
    """
    values = values.double() / values.double().max()
    generator = torch.Generator().manual_seed(0)
    coefficients = _starts(values, steps)
    for _ in range(rounds):
        coefficients = _with_neighbours(coefficients, values, copies, generator)
        coefficients, loss = _search(coefficients, values, _ITERATIONS)
        coefficients = coefficients[loss.argsort(stable=True)[:_KEPT]]
        if loss.min() < _ENOUGH**2 * len(values):
            break
    else:
        loss = _search(coefficients, values, _LAST_ITERATIONS)[1]
    return (loss.min() / len(values)).sqrt().item()


def limit_table(steps: int, n: int) -> str:
    """The limit beside the rules' errors."""
    matrices = {name: A.float() for own in suite(n, 0).values() for name, A in own.items()}
    least = {name: limit(torch.linalg.svdvals(matrices[name].double()), steps) for name in ROWS}
    columns = [rule for rule in RULES if rule not in ("taylor", "jordan", "you")] + ["PE Schatten"]
    errors = {method: measure(method, [steps], n, 0)[steps] for method in columns}
    rows = []
    for name, value in least.items():
        shown = f"{value:#.3g}" if value >= FLOOR else f"< {FLOOR:g}"
        rows.append((name, shown, *(f"{errors[method][name]:#.3g}" for method in columns)))
    return format_table(("spectrum", "limit", *columns), rows, f"K = {steps} steps")
