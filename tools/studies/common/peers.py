"""What would be used instead of the library, each in its usual, efficient form."""

import torch
from torch import Tensor
from torch.optim._muon import _zeropower_via_newtonschulz

Quintics = tuple[tuple[float, float, float], ...]


def _for_enlarged(rows: Quintics, factor: float) -> Quintics:
    """Rows for arguments larger by a factor."""
    return tuple((a / factor, b / factor**3, c / factor**5) for a, b, c in rows)


_POLAR_EXPRESS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.9089021159629494, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
)
# As their authors publish and use them, not as the library has them: coefficients, the last row for
# all further steps, and the factor on the Frobenius norm that is divided by.
TABLES: dict[str, tuple[Quintics, float]] = {
    "Polar Express": ((*_for_enlarged(_POLAR_EXPRESS, 1.01), (1.875, -1.25, 0.375)), 1.01),
    "Jordan": (((3.4445, -4.7750, 2.0315),), 1.0),
    "You": (
        (
            *((4.0848, -6.8946, 2.9270), (3.9505, -6.3029, 2.6377), (3.7418, -5.5913, 2.3037)),
            *((2.8769, -3.1427, 1.2046), (2.8366, -3.0525, 1.2012)),
        ),
        1.0,
    ),
}
_NORM_FLOOR = 1e-7


def _multiply_add(C: Tensor, A: Tensor, B: Tensor, beta: float, alpha: float = 1.0) -> Tensor:
    """beta C + alpha A B in one kernel."""
    operation = torch.addmm if A.dim() == 2 else torch.baddbmm
    return operation(C, A, B, beta=beta, alpha=alpha)


def _normalised(G: Tensor, margin: float) -> Tensor:
    """G/(margin ‖G‖_F), transposed so that X Xᵀ is the smaller Gram matrix."""
    X = G.mT if G.shape[-2] > G.shape[-1] else G
    return X / (margin * X.norm(dim=(-2, -1), keepdim=True) + _NORM_FLOOR)


def apply_quintics(X: Tensor, quintics: Quintics) -> Tensor:
    """X ← a X + (b A + c A²) X with A = X Xᵀ, for each row (a, b, c)."""
    for a, b, c in quintics:
        A = X @ X.mT
        X = _multiply_add(X, _multiply_add(A, A, A, beta=b, alpha=c), X, beta=a)
    return X


def newton_schulz(G: Tensor, table: str, steps: int) -> Tensor:
    """Polar factor by fixed quintics; the last row is repeated."""
    quintics, margin = TABLES[table]
    rows = tuple(quintics[min(step, len(quintics) - 1)] for step in range(steps))
    X = apply_quintics(_normalised(G, margin), rows)
    return X.mT if G.shape[-2] > G.shape[-1] else X


def gram_newton_schulz(G: Tensor, table: str, steps: int, restart: int = 2) -> Tensor:
    """The same on the Gram matrix R = X Xᵀ alone: Q gathers the polynomials, one restart keeps it stable."""
    quintics, margin = TABLES[table]
    X = _normalised(G, margin)
    R, Q = X @ X.mT, None
    for step in range(steps):
        if step == restart:
            X = Q @ X
            R, Q = X @ X.mT, None
        a, b, c = quintics[min(step, len(quintics) - 1)]
        Z = _multiply_add(R, R, R, beta=b, alpha=c)
        eye = torch.eye(R.shape[-1], dtype=R.dtype, device=R.device)
        Q = a * eye + Z if Q is None else _multiply_add(Q, Q, Z, beta=a)
        if step not in (restart - 1, steps - 1):
            RZ = _multiply_add(R, R, Z, beta=a)
            R = _multiply_add(RZ, Z, RZ, beta=a)
    X = Q @ X
    return X.mT if G.shape[-2] > G.shape[-1] else X


def torch_muon(G: Tensor, steps: int = 5) -> Tensor:
    """`torch.optim.Muon`'s own: 2-D, in bfloat16. It overwrites a bfloat16 argument, hence the copy."""
    A = G.clone() if G.dtype == torch.bfloat16 else G
    return _zeropower_via_newtonschulz(A, TABLES["Jordan"][0][0], steps, _NORM_FLOOR)


def coupled_newton(A: Tensor, p: int, tolerance: float = 1e-6, most: int = 100) -> tuple[Tensor, int]:
    """A^(-1/p) as Shampoo takes it, and the steps used: X ← X g, M ← g^p M, g = ((p+1)I - M)/p.

    Stops where max|M - I| ≤ tolerance, which the host waits for in every step. 2-D only.
    """
    eye = torch.eye(len(A), dtype=A.dtype, device=A.device)
    z = (1 + p) / (2 * torch.linalg.norm(A))
    X, M = z ** (1 / p) * eye, z * A
    steps = 0
    while steps < most and (M - eye).abs().max().item() > tolerance:
        g = (1 + 1 / p) * eye - M / p
        X, M = X @ g, torch.linalg.matrix_power(g, p) @ M
        steps += 1
    return X, steps


def coupled_newton_each(A: Tensor, p: int) -> Tensor:
    """`coupled_newton` of each matrix of a batch in turn, as it must be used."""
    if A.dim() == 2:
        return coupled_newton(A, p)[0]
    return torch.stack([coupled_newton(matrix, p)[0] for matrix in A])
