"""Text: for people to read, and as bytes."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher
from typing import IO, Any, NamedTuple

__all__ = [
    "FuzzyMatch",
    "abbr",
    "abbr_fqdn",
    "didyoumean",
    "enumeration",
    "fuzzymatch_best",
    "fuzzymatch_iter",
    "isatty",
    "maybecat",
    "pluralize",
    "shorten_fqdn",
    "title",
    "want_bytes",
    "want_str",
]


class FuzzyMatch(NamedTuple):
    """How alike (0 to 1) a name is."""

    ratio: float
    value: str


def want_bytes(s: str | bytes) -> bytes:
    """Return bytes: of text, its UTF-8."""
    return s.encode() if isinstance(s, str) else s


def want_str(s: str | bytes) -> str:
    """Return text: of bytes, what they are in UTF-8."""
    return s.decode() if isinstance(s, bytes) else s


def isatty(fh: IO[Any]) -> bool:
    """Say whether somebody sits at the other end."""
    return bool(getattr(fh, "isatty", bool)())


def title(s: str) -> str:
    """Return a name in words: `windowed_word_count` is `Windowed Word Count`."""
    return " ".join(word.capitalize() for word in s.replace("-", " ").replace("_", " ").split())


def fuzzymatch_iter(
    haystack: Iterable[str], needle: str, *, min_ratio: float = 0.6
) -> Iterable[FuzzyMatch]:
    """Yield every name that is spelled like the needle."""
    for value in haystack:
        ratio = SequenceMatcher(None, needle, value).ratio()
        if ratio >= min_ratio:
            yield FuzzyMatch(ratio, value)


def fuzzymatch_best(haystack: Iterable[str], needle: str, *, min_ratio: float = 0.6) -> str | None:
    """Return the name that is spelled most like the needle, or None."""
    best = max(fuzzymatch_iter(haystack, needle, min_ratio=min_ratio), default=None)
    return best.value if best is not None else None


def didyoumean(
    haystack: Iterable[str],
    needle: str,
    *,
    fmt_many: str = "Did you mean one of {alt}?",
    fmt_one: str = "Did you mean {alt}?",
    fmt_none: str = "",
    min_ratio: float = 0.6,
) -> str:
    """Phrase the names that somebody may have meant."""
    alike = sorted(fuzzymatch_iter(haystack, needle, min_ratio=min_ratio), reverse=True)
    names = [match.value for match in alike]
    if not names:
        return fmt_none
    return (fmt_many if len(names) > 1 else fmt_one).format(alt=", ".join(names))


def enumeration(
    items: Iterable[str], *, start: int = 1, sep: str = "\n", template: str = "{index}) {item}"
) -> str:
    """Return a numbered list."""
    return sep.join(
        template.format(index=index, item=item) for index, item in enumerate(items, start)
    )


def abbr(s: str, max: int, suffix: str = "...", words: bool = False) -> str:
    """Cut a text to at most max characters, the suffix included; words: only between words."""
    if len(s) <= max:
        return s
    room = max - len(suffix)
    if not words:
        return s[:room] + suffix if room > 0 else s[:max]
    return s[:room].rpartition(" ")[0] + suffix


def abbr_fqdn(origin: str, name: str, *, prefix: str = "") -> str:
    """Leave out of a dotted name what it shares with the origin's package."""
    package = origin.rpartition(".")[0] or origin
    if name.startswith(f"{package}."):
        return prefix + name[len(package) + 1 :]
    return name


def shorten_fqdn(s: str, max: int = 32) -> str:
    """Shorten a dotted name to its first letters, the last part whole, if it is too long."""
    if len(s) <= max:
        return s
    *packages, name = s.split(".")
    if not packages:
        return abbr(s, max)
    return ".".join([*(package[:1] for package in packages), name])


def pluralize(n: int, text: str, suffix: str = "s") -> str:
    """Return the plural, unless there is one."""
    return text if n == 1 else text + suffix


def maybecat(s: str | None, suffix: str = "", *, prefix: str = "") -> str | None:
    """Put something around a text, if there is one."""
    return None if s is None else f"{prefix}{s}{suffix}"
