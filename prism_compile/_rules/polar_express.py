"""Polar Express: the quintics that are best in the worst case over singular values in [1e-3, 1]."""

from .table import Row, TableRule

_SAFETY = 1.01
_PUBLISHED = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.9089021159629494, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
)
_CLASSICAL = (1.875, -1.25, 0.375)


def _with_safety(row: Row) -> Row:
    """A row for arguments enlarged by the safety factor, so that rounding cannot leave its interval."""
    a, b, c = row
    return a / _SAFETY, b / _SAFETY**3, c / _SAFETY**5


RULE = TableRule(
    "polar_express",
    "Amsel et al., arXiv 2505.16932, singular values in [1e-3, 1]",
    scaling="frobenius",
    safety=_SAFETY,
    table=(*map(_with_safety, _PUBLISHED), _CLASSICAL),
)
