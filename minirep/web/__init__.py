"""The web page: a microphone or a sound file in the browser, and what the network computes from it."""

from .bench import Bench as Bench
from .server import Server as Server
