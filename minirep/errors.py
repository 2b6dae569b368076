"""The error that callers catch, and the warning that minirep issues."""

import contextlib
import warnings
from collections.abc import Iterator

from .text import one_line


class MinirepError(Exception):
    """An error that a user can cause or correct: a bad file, a bad argument, a missing extra.

    The message is one line that names what was found and what was expected.
    """


class MinirepWarning(UserWarning):
    """A warning that a file may not be what was meant: it is truncated, or contains two files."""


class MissingExtra(MinirepError):
    """An optional package is not installed; the message gives the ``pip install`` command that adds it."""

    def __init__(self, package: str, extra: str, purpose: str, instead: str = ""):
        super().__init__(
            f"{purpose} needs the package {package}, which is not installed: pip install 'minirep[{extra}]'"
            + (f" ({instead})" if instead else "")
        )


def expect(holds: object, message: str, error: type[Exception] = MinirepError) -> None:
    """Raise a MinirepError, or another error, with this message unless the condition holds."""
    if not holds:
        raise error(message)


@contextlib.contextmanager
def naming(path: object) -> Iterator[None]:
    """Let every error in reading a file be a MinirepError of one line that begins with the file's name."""
    name = one_line(str(path), 4096)
    try:
        yield
    except FileNotFoundError:
        raise MinirepError(f"{name}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        reason = getattr(error, "strerror", None) or error
        raise MinirepError(f"{name}: cannot be read: {one_line(str(reason))}") from None
    except MinirepError as error:
        message = str(error).removeprefix(f"{name}: ")
        raise MinirepError(f"{name}: {one_line(message, 900)}") from None


def warn(message: str) -> None:
    """Issue a MinirepWarning with this message."""
    warnings.warn(message, MinirepWarning, stacklevel=3)
