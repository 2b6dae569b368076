"""A page that listens: a browser's microphone or a sound file, seen through the network while it sounds."""

from .bench import Bench as Bench
from .server import Server as Server
