"""The studies behind the commands of `tools/`: `python -m studies.NAME`, with `tools` on the path."""
