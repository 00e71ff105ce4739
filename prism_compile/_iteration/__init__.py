"""The parts of a PRISM iteration, each written once: polynomial, sketch, Krylov blocks, fit, rule,
scaling, form and loop."""
