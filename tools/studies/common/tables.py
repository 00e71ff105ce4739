"""Tables in plain text."""

from collections.abc import Sequence

Cells = Sequence[str]


def format_table(
    header: Cells, rows: Sequence[Cells], title: str = "", left: tuple[int, ...] = (0,), total: bool = False
) -> str:
    """Aligned columns under an underlined header.

    Where some rows have an empty first cell, they belong to the row above, and a blank line parts the groups.

    Args:
        title: a line before the table.
        left: the columns aligned to the left.
        total: whether the last row is set off as the sum of the others.
    """
    widths = [max(map(len, column)) for column in zip(header, *rows)]

    def line(cells: Cells) -> str:
        words = (c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths)))
        return "  ".join(words).rstrip()

    rule = "  ".join("-" * width for width in widths)
    grouped = any(not row[0] for row in rows)
    lines = [title, ""] if title else []
    lines += [line(header), rule]
    for i, row in enumerate(rows):
        if total and i == len(rows) - 1:
            lines.append(rule)
        elif grouped and i > 0 and row[0]:
            lines.append("")
        lines.append(line(row))
    return "\n".join(lines)


def shape_of(shape: Sequence[int]) -> str:
    """A shape as tables and titles have it, 4x512x128 say."""
    return "x".join(map(str, shape))
