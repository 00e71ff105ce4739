"""Properties of every function, by every rule, in every dtype, against decompositions in 64 bits."""
