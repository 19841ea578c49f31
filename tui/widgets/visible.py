"""What is typed, drawn as text: a value may be a name from a disk, with characters in it that steer a terminal."""

from __future__ import annotations

from rich.highlighter import Highlighter
from rich.text import Text

from datadream.text import is_unshown


class Visible(Highlighter):
    """For `Input(highlighter=...)`: each character that isn't shown is drawn as a question mark; the value stays."""

    def highlight(self, text: Text) -> None:
        """Change the drawn text in place."""
        if any(map(is_unshown, text.plain)):
            text.plain = "".join("?" if is_unshown(character) else character for character in text.plain)
