"""The parts of the iteration, each alone."""
