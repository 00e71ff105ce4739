"""Tests of the studies behind the commands of `tools/`."""
