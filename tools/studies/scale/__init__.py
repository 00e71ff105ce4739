"""What processes that share the solves send and compute, measured and modelled."""
