"""Muon's quintic, repeated: steep, and it does not converge below a residual of about 0.2."""

from .table import TableRule

RULE = TableRule(
    "jordan",
    "K. Jordan, Muon: an optimizer for hidden layers (2024); torch.optim.Muon",
    scaling="frobenius",
    table=((3.4445, -4.7750, 2.0315),),
)
