"""From a call to an iteration and back: checks, options, batches, gradients, operators."""
