"""The web page: a microphone or a sound file in the browser, and the network at work on it."""

from .bench import Bench as Bench
from .server import Server as Server
