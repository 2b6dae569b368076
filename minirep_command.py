"""The program `minirep`. It stands beside the package so that Ctrl-C is no traceback even while NumPy is loading."""


def main() -> int:
    """Run the command line; returns the exit status."""
    try:
        from minirep.cli import main
    except KeyboardInterrupt:
        return 130  # as shells count it: 128 + SIGINT
    return main()
