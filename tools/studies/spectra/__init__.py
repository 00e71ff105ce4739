"""Errors of the rules on many spectra, and the least that any quintics reach."""
