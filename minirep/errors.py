"""The one error that callers need to catch, and the one warning."""

import warnings


class MinirepError(Exception):
    """Something a user can cause or mend: a bad file, a bad argument, a missing extra.

    The message is one line that names what was found and what was expected.
    """


class MinirepWarning(UserWarning):
    """Something that was read may not be what was meant: a file that was cut, or two in one."""


class MissingExtra(MinirepError):
    """An optional package is not installed; the message gives the ``pip install`` that adds it."""

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
