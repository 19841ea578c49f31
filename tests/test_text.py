"""Values as a person reads them."""

from __future__ import annotations

import pytest

from datadream.text import counted


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (0, "job", "0 jobs"),
        (1, "job", "1 job"),
        (2, "class", "2 classes"),
        (1, "class", "1 class"),
        (1200, "image", "1,200 images"),
    ],
)
def test_a_number_and_its_noun(number: int, noun: str, text: str) -> None:
    assert counted(number, noun) == text
