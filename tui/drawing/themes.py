"""Dark, light, high contrast, colour-blind safe. State is never told by colour alone: each only has to be legible."""

from __future__ import annotations

from textual.theme import Theme

DEFAULT = "datadream-dark"
THEMES = (
    Theme(
        name="datadream-dark", primary="#5fafd7", secondary="#87afaf", accent="#d7af5f", foreground="#d8dee9",
        background="#14171c", surface="#1b1f26", panel="#252b34", success="#87d787", warning="#d7af5f", error="#ff8787",
        dark=True,
    ),
    Theme(
        name="datadream-light", primary="#005f87", secondary="#4e6a6a", accent="#875f00", foreground="#1f2430",
        background="#fbfbf8", surface="#f1f1ec", panel="#e2e3dc", success="#005f00", warning="#875f00", error="#af0000",
        dark=False,
    ),
    Theme(
        name="datadream-contrast", primary="#ffffff", secondary="#ffffff", accent="#ffff00", foreground="#ffffff",
        background="#000000", surface="#000000", panel="#1c1c1c", success="#00ff00", warning="#ffff00", error="#ff5f5f",
        dark=True,
    ),
    # Okabe and Ito's colours, told apart by all common kinds of colour vision.
    Theme(
        name="datadream-safe", primary="#56b4e9", secondary="#009e73", accent="#e69f00", foreground="#e8e8e8",
        background="#15181d", surface="#1b1f26", panel="#262c35", success="#56b4e9", warning="#f0e442", error="#e69f00",
        dark=True,
    ),
)  # fmt: skip
