"""A line of a table as a strip: cells of a row or of the header, cut to their columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.strip import Strip

from tui.drawing import glyphs
from tui.widgets.table_columns import Column, Row, cut


def cells(columns: Sequence[Column], widths: Sequence[int], row_id: str, row: Row | None) -> list[Text | str]:
    """What each column says; of a row that isn't there yet only the id."""
    found: list[Text | str] = []
    for column, width in zip(columns, widths, strict=True):
        if row is not None:
            said: Text | str = column.show(row)
        else:
            said = row_id[:width] if column.name == "id" else glyphs.ELLIPSIS
        found.append(cut(said, width, column.right))
    return found


def titles(columns: Sequence[Column], widths: Sequence[int], sort: str) -> list[Text | str]:
    """The header's cells, with an arrow where `sort` (a column, `-` before it for descending) is."""
    name, arrow = sort.removeprefix("-"), glyphs.DOWN if sort.startswith("-") else glyphs.UP
    found = []
    for column, width in zip(columns, widths, strict=True):
        title = column.title
        if column.name == name:
            room = width - len(title)
            title += f" {arrow}" if room > 1 else arrow if room else ""  # the line below the table says it too
        found.append(cut(title, width, column.right))
    return found


def line(sign: str, texts: Sequence[Text | str], gap: int, style: Style) -> Strip:
    """One line. Neighbours in plain text become one segment: fewer bytes to a slow terminal."""
    between = " " * gap
    segments: list[Segment] = []
    plain = sign
    for number, text in enumerate(texts):
        plain += between if number else ""
        if isinstance(text, str) or not (text.spans or text.style):
            plain += text if isinstance(text, str) else text.plain
            continue
        segments.append(Segment(plain, style))
        plain = ""
        segments.extend(styled(text, style))
    segments.append(Segment(plain, style))
    return Strip(segments)


def styled(text: Text, style: Style) -> Iterable[Segment]:
    """Its spans over `style`."""
    style = style + (text.style if isinstance(text.style, Style) else Style.parse(text.style))
    at = 0
    for span in sorted(text.spans, key=lambda span: span.start):
        if span.start > at:
            yield Segment(text.plain[at : span.start], style)
        look = span.style if isinstance(span.style, Style) else Style.parse(span.style)
        yield Segment(text.plain[max(at, span.start) : span.end], style + look)
        at = max(at, span.end)
    if at < len(text.plain):
        yield Segment(text.plain[at:], style)
