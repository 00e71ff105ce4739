"""Where the default rule can be trusted: against the other rules, against bars, and against a tolerance."""
