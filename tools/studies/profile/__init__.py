"""Where the time of a function goes, by phase."""
