"""What the optimizers have in common: matrices of parameters, batched solves, shares, exchange, checks."""
