"""The command line: find the command, run it, and turn an error into one line and an exit status.

Each command is a module with ``add_arguments(parser)`` and ``run(args) -> exit status``. It is imported only when it is
used, so that ``minirep --help`` is fast.
"""

import argparse
import contextlib
import importlib.util
import os
import sys
import warnings

from .. import __version__
from ..errors import MinirepError
from .terminal import Progress, complain, report_warnings

PACKAGE = __package__.partition(".")[0]
COMMANDS = {  # name: (module, what it does)
    "classify": ("cli.classify", "classify sound files"),
    "listen": ("cli.listen", "detect sounds in a live stream on standard input"),
    "web": ("cli.web", "show the network at work on a microphone or a sound file, on a local web page"),
    "eval": ("cli.eval", "measure a model's accuracy and calibration on labelled recordings"),
    "convert": ("cli.convert", "convert a published checkpoint to model.npz, and merge it"),
    "fuse": ("cli.fuse", "merge the branches and batch norms of a model"),
    "export": ("cli.export", "export a model to .onnx or .safetensors, for other programs"),
    "bundle": ("cli.bundle", "pack a model and the code that runs it into one file"),
    "info": ("cli.info", "show a model's architecture, parameters and multiply-adds"),
    "verify": ("cli.verify", "prove that a merged model computes the same function"),
    "bench": ("cli.bench", "measure how fast a model runs on this computer"),
}
# 1: some of the inputs failed; run() of the command returns it.
UNUSABLE = 2  # arguments or a model that cannot be used
INTERRUPTED = 130  # as shells count it: 128 + SIGINT
CLOSED_PIPE = 141  # 128 + SIGPIPE


def main(argv: list[str] | None = None) -> int:
    """Run one command; return its exit status (0: success, 1: some inputs failed, 2: unusable arguments or model)."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        args = _parser(argv).parse_args(argv)
        with warnings.catch_warnings():
            report_warnings()
            status = args.run(args)
        sys.stdout.flush()  # so that a closed pipe or a full disk is an error here, not when Python shuts down
        return status
    except SystemExit as done:  # argparse has printed help, the version or what is wrong
        return int(done.code or 0)
    except MinirepError as error:
        complain(f"error: {error}")
        return UNUSABLE
    except MemoryError as error:
        complain(f"error: too little memory ({error or 'the system gave no reason'})")
        return UNUSABLE
    except KeyboardInterrupt:  # also while a command or what it needs is being imported
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output, such as head, has closed it
        _drop_output()
        return CLOSED_PIPE
    except OSError as error:  # such as a full disk under our output
        _drop_output()
        complain(f"error: {error.filename or 'output'}: {error.strerror or error}")
        return UNUSABLE
    finally:
        Progress.clear()


def _parser(argv: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="minirep",
        description="Audio networks with mergeable kernels, in plain NumPy: from the waveform to the class.",
        epilog="Run 'minirep COMMAND --help' for its options. Exit status: 0 success, 1 some inputs failed, "
        "2 unusable arguments or model.",
    )
    parser.add_argument("--version", action="version", version=f"minirep {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (module, purpose) in COMMANDS.items():
        if importlib.util.find_spec(f"{PACKAGE}.{module}") is None:
            continue  # left out of a bundle
        command = commands.add_parser(name, help=purpose, description=purpose[0].upper() + purpose[1:] + ".")
        if name in argv[:1]:
            implementation = importlib.import_module(f"{PACKAGE}.{module}")
            implementation.add_arguments(command)
            command.set_defaults(run=implementation.run)
    return parser


def _drop_output() -> None:
    """Discard the rest of stdout's buffer: it cannot be written, and Python would report that when it exits."""
    with contextlib.suppress(OSError, ValueError):  # not a real file, as in tests
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
