"""The one error that callers need to catch."""


class MinirepError(Exception):
    """Something a user can cause or mend: a bad file, a bad argument, a missing extra.

    The message is one line that names what was found and what was expected.
    """


class MissingExtra(MinirepError):
    """An optional package is not installed; the message gives the ``pip install`` that adds it."""

    def __init__(self, package: str, extra: str, purpose: str):
        super().__init__(
            f"{purpose} needs the package {package}, which is not installed: pip install 'minirep[{extra}]'"
        )


def expect(holds: object, message: str) -> None:
    """Raise a MinirepError with this message unless the condition holds."""
    if not holds:
        raise MinirepError(message)
