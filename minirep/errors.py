"""The one error that callers need to catch."""


class MinirepError(Exception):
    """Something a user can cause or mend: a bad file, a bad argument, a missing extra.

    The message is one line that says what was found and what was expected.
    """


class MissingExtra(MinirepError):
    """An optional package is not installed; the message says which ``pip install`` mends it."""

    def __init__(self, package: str, extra: str, purpose: str):
        super().__init__(
            f"{purpose} needs the package {package}, which is not installed: pip install 'minirep[{extra}]'"
        )
