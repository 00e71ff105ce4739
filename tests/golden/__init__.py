"""Exact-fit trajectories, `trajectories.json`, and what makes them."""
