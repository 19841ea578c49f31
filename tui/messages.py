"""What the poller's thread tells the app."""

from __future__ import annotations

from textual.message import Message

from tui.services.snapshot import Snapshot


class Arrived(Message):
    """A snapshot from the poller; a newer one takes its place."""

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__()
        self.snapshot = snapshot

    def can_replace(self, message: Message) -> bool:
        """Only the newest counts."""
        return isinstance(message, Arrived)


class Failed(Message):
    """The poller met something nobody foresaw."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error
