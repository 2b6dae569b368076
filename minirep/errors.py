"""The error that callers catch, and the warning that minirep issues."""

import warnings


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


def warn(message: str) -> None:
    """Issue a MinirepWarning with this message."""
    warnings.warn(message, MinirepWarning, stacklevel=3)
