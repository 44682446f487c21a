"""What the benchmarks of tables count: words, each in a JSON document of 100 bytes."""

from __future__ import annotations

import random

WORDS = 10_000
DOCUMENT_BYTES = 100


def documents(count: int) -> list[tuple[bytes, bytes]]:
    """Make keys of 8 bytes, WORDS of them, and documents of DOCUMENT_BYTES with them."""
    dice = random.Random(10)
    made = []
    for number in range(count):
        word = f"w{dice.randrange(WORDS):07}"
        head = (
            f'{{"word": "{word}", "id": {number}, "amount": {dice.random() * 1000:.2f}, "note": "'
        )
        note = dice.randbytes(DOCUMENT_BYTES).hex()[: DOCUMENT_BYTES - len(head) - 2]
        made.append((word.encode(), f'{head}{note}"}}'.encode()))
    return made
