"""Loggers, and logging that is set up in one call."""

from __future__ import annotations

import contextlib
import logging
import logging.config
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

__all__ = [
    "CompositeLogger",
    "get_logger",
    "level_name",
    "level_number",
    "redirect_stdouts",
    "setup_logging",
]

FORMAT = "[%(asctime)s] [%(process)s] [%(levelname)s]: %(message)s"


def get_logger(name: str) -> logging.Logger:
    """Return a logger that is quiet until logging is set up."""
    logger = logging.getLogger(name)
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return logger


def level_name(loglevel: int | str) -> str:
    """Return the name of a level."""
    return loglevel.upper() if isinstance(loglevel, str) else logging.getLevelName(loglevel)


def level_number(loglevel: int | str | None) -> int:
    """Return the number of a level; an unknown name is a ValueError."""
    if loglevel is None or isinstance(loglevel, int):
        return loglevel or 0
    number = logging.getLevelNamesMapping().get(loglevel.upper())
    if number is None:
        raise ValueError(f"there is no log level {loglevel!r}")
    return number


def setup_logging(
    *,
    loglevel: int | str | None = None,
    logfile: str | IO[str] | None = None,
    loghandlers: list[logging.Handler] | None = None,
    logging_config: Mapping[str, Any] | None = None,
) -> int:
    """Set up logging for the whole process; return the level's number.

    logfile is a path, a file, or None for the standard error; logging_config is a
    mapping for logging.config.dictConfig, and then the others count no more.
    """
    level = level_number(loglevel)
    if logging_config is not None:
        logging.config.dictConfig(dict(logging_config))
        return level
    handler: logging.Handler
    handler = (
        logging.FileHandler(logfile) if isinstance(logfile, str) else logging.StreamHandler(logfile)
    )
    handler.setFormatter(logging.Formatter(FORMAT))
    root = logging.getLogger()
    root.handlers = [handler, *(loghandlers or ())]
    if level:
        root.setLevel(level)
    return level


class CompositeLogger:
    """A logger that puts a formatter's prefix before each line."""

    def __init__(self, logger: logging.Logger, formatter: Callable[..., str] | None = None) -> None:
        self.logger = logger
        self.formatter = formatter

    def log(self, severity: int, msg: str, *args: Any, **options: Any) -> None:
        """Log a line at a level."""
        text = msg if self.formatter is None else self.formatter(severity, msg, *args, **options)
        options.setdefault("stacklevel", 2)
        self.logger.log(severity, text, *args, **options)

    def debug(self, msg: str, *args: Any, **options: Any) -> None:
        """Log a line that helps to find a bug."""
        self.log(logging.DEBUG, msg, *args, **options)

    dev = debug

    def info(self, msg: str, *args: Any, **options: Any) -> None:
        """Log a line that is good to know."""
        self.log(logging.INFO, msg, *args, **options)

    def warning(self, msg: str, *args: Any, **options: Any) -> None:
        """Log a line that should be looked into."""
        self.log(logging.WARNING, msg, *args, **options)

    warn = warning

    def error(self, msg: str, *args: Any, **options: Any) -> None:
        """Log a line about what failed."""
        self.log(logging.ERROR, msg, *args, **options)

    def exception(self, msg: str, *args: Any, **options: Any) -> None:
        """Log a line about what failed, with the traceback."""
        self.log(logging.ERROR, msg, *args, exc_info=True, **options)

    def critical(self, msg: str, *args: Any, **options: Any) -> None:
        """Log a line about what ends the program."""
        self.log(logging.CRITICAL, msg, *args, **options)

    crit = critical

    @property
    def handlers(self) -> list[logging.Handler]:
        """The handlers of the logger."""
        return self.logger.handlers

    def __getattr__(self, name: str) -> Any:
        return getattr(self.logger, name)


@contextlib.contextmanager
def redirect_stdouts(
    logger: logging.Logger | None = None,
    *,
    severity: int | str | None = None,
    stdout: bool = True,
    stderr: bool = True,
) -> Iterator[None]:
    """Send what is printed to a logger, line by line."""
    target = logger if logger is not None else logging.getLogger("redirect")
    lines: Any = _Lines(target, level_number(severity or logging.WARNING))
    with contextlib.ExitStack() as stack:
        if stdout:
            stack.enter_context(contextlib.redirect_stdout(lines))
        if stderr:
            stack.enter_context(contextlib.redirect_stderr(lines))
        yield


class _Lines:
    def __init__(self, logger: logging.Logger, level: int) -> None:
        self._logger, self._level = logger, level

    def write(self, text: str) -> int:
        for line in text.rstrip().splitlines():
            self._logger.log(self._level, "%s", line)
        return len(text)

    def flush(self) -> None:
        """Everything is logged already."""
