"""A progress bar on one line."""

import sys


def show_progress(done: int, total: int, note: str, width: int = 30) -> None:
    """Redraw the bar; where the output is not a terminal, print a line per quarter instead."""
    filled = width * done // total
    line = f"[{'#' * filled}{'.' * (width - filled)}] {done}/{total}  {note}"
    if sys.stdout.isatty():
        print(f"\r{line}", end="\n" if done == total else "", flush=True)
    elif done * 4 // total > (done - 1) * 4 // total:
        print(line, flush=True)
