"""Times of the library, its peers and its matrix products."""
