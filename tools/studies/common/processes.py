"""Modules of the studies run as processes of their own."""

import os
import sys
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[2]
ROOT = TOOLS.parent


def module_command(module: str, *words: str) -> list[str]:
    """The command line that runs `studies.<module>`; in `module_environment` it is found."""
    return [sys.executable, "-m", f"studies.{module}", *words]


def module_environment(**variables: str) -> dict[str, str]:
    """This environment with these variables; the studies and this copy of the library are on its path."""
    path = os.pathsep.join(filter(None, (str(TOOLS), str(ROOT), os.getenv("PYTHONPATH"))))
    return {**os.environ, **variables, "PYTHONPATH": path}
