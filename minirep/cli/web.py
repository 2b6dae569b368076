"""``minirep web``: a page in the browser that shows the network at work on live sound."""

import argparse
import sys

from ..web import Bench, Server
from .arguments import port, share
from .terminal import complain, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Open the printed address in a browser. The page uses the microphone or a sound file, and sends the sound to "
        "this process only. Ctrl-C stops the server."
    )
    share(parser, "--model")
    add = parser.add_argument
    add("--port", type=port, default=8765, metavar="N", help="TCP port (default: 8765; 0: any free port)")
    host = "address to listen on (default: 127.0.0.1, this computer only)"
    add("--host", default="127.0.0.1", metavar="H", help=host)
    share(parser, "--backend")


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
