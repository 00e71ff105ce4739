"""How far a study is, on standard error: standard output has nothing but what it found."""

import sys


def note(text: str) -> None:
    """A line."""
    print(text, file=sys.stderr, flush=True)


def show_progress(done: int, total: int, text: str, width: int = 30) -> None:
    """Redraw a bar on one line; where that is no terminal, print a line per quarter instead."""
    filled = width * done // total
    line = f"[{'#' * filled}{'.' * (width - filled)}] {done}/{total}  {text}"
    if sys.stderr.isatty():
        # The rest of a longer line is erased.
        print(f"\r{line}\x1b[K", end="\n" if done == total else "", file=sys.stderr, flush=True)
    elif done * 4 // total > (done - 1) * 4 // total:
        note(line)
