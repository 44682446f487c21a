"""What the captured topic holds."""

from __future__ import annotations

TIMESTAMP = 1_700_000_000_000

# What the captured topic holds, in order; the tests expect exactly this.
MESSAGES: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]] = [
    (b"key", b"value", []),
    (None, b"no key", [("h", b"1"), ("h", None)]),
    (b"no value", None, []),
    (b"", b"", [("empty", b"")]),
    (b"zipped", b"abcabcabc" * 40, []),
]
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
