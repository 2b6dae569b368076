"""``minirep web``: a page in the browser that shows the network at work on live sound."""

import argparse
import sys

from ..web import Bench, Server
from .arguments import add_backend, add_model
from .terminal import complain, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Open the printed address in a browser. The page uses the microphone or a sound file, and sends the sound to "
        "this process only. Ctrl-C stops the server."
    )
    add_model(parser)
    parser.add_argument(
        "--port", type=port, default=8765, metavar="N", help="TCP port (default: 8765; 0: any free port)"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="H", help="address to listen on (default: 127.0.0.1, this computer only)"
    )
    add_backend(parser)


def port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number from 0 to 65535")
    return int(text)


def run(args) -> int:
    with Server(Bench(args.model, args.backend), args.host, args.port) as server:
        if not server.loopback:
            complain(
                f"warning: other computers can reach {args.host}, and sound travels to it unencrypted; browsers give "
                "the microphone only to https and to this computer's own pages"
            )
        complain("open this address in a browser; Ctrl-C ends it")
        say(server.address)
        sys.stdout.flush()
        server.serve_forever()
    return 0
