"""Where a study keeps what it printed, under which header; no part of a run takes the place of the whole."""

import argparse
import re
from pathlib import Path

import pytest

from studies.common import results

STUDIES = Path(results.__file__).resolve().parents[1]


def run(*words: str, fail: bool = False) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int)
    results.add_option(parser)
    with results.recorded("demo", parser, words):
        print("found\n\n  1.5 ms")
        if fail:
            raise ArithmeticError


@pytest.mark.parametrize(
    ("words", "path"),
    [
        ("", "studies/demo/results.txt"),
        ("--threads 2", "studies/demo/results.txt"),
        ("--steps 3", "studies/demo/results.txt"),
        ("--steps 4", "out/demo.txt"),
        ("--quick", "out/demo.txt"),
        ("--steps 4 --results four", "studies/demo/results-four.txt"),
    ],
)
def test_a_run_is_kept_by_what_it_was(folders, capsys, words, path):
    run(*words.split())
    assert capsys.readouterr().out == "found\n\n  1.5 ms\n"
    assert [str(p.relative_to(folders)) for p in folders.rglob("*.txt")] == [path]
    command, made, machine, blank, *lines = (folders / path).read_text().splitlines()
    assert command == f"tools/demo {words}".strip()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d, torch \S+, Python [\d.]+\S*, \d+ s", made)
    assert re.fullmatch(r".+, \d+ cores?, \d+ threads?", machine)
    assert not blank
    assert lines == ["found", "", "  1.5 ms"]


def test_a_run_that_fails_or_is_quick_takes_no_place(folders):
    with pytest.raises(ArithmeticError):
        run(fail=True)
    with pytest.raises(SystemExit):
        run("--quick", "--results", "some")
    assert not list(folders.rglob("*.txt"))


def test_kept_results_tell_their_command():
    kept = sorted(STUDIES.glob("*/results*.txt"))
    assert kept
    for path in kept:
        first = path.read_text().splitlines()[0]
        assert first.split()[0] == f"tools/{path.parent.name}", path
        assert "--quick" not in first, path
