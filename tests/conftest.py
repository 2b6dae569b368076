"""Settings of the test suite: where its helpers are, and how many examples each property tries.

HYPOTHESIS_PROFILE selects the number: ci (the default), extras, quick, mutants or thorough.
"""

import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

TESTS = Path(__file__).parent
sys.path[:0] = [str(TESTS / "helpers"), str(TESTS / "programs")]  # ``import naive``, ``import mutants``
from built_site import browser, built, open_page  # noqa: E402, F401 (fixtures, found through the path above)

# A shell starts what it runs in the background with Ctrl-C ignored, which the commands under test would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Examples are derived from each test's own source, so every run repeats them and every failure can be reproduced.
_common = {"deadline": None, "derandomize": True, "database": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("ci", max_examples=80, **_common)
settings.register_profile("extras", max_examples=30, **_common)
settings.register_profile("quick", max_examples=10, **_common)
# Only whether a planted fault is caught matters here, not the simplest example of it.
settings.register_profile("mutants", max_examples=12, phases=(Phase.generate,), report_multiple_bugs=False, **_common)
settings.register_profile("thorough", max_examples=1000, **{**_common, "derandomize": False})
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture
def training(monkeypatch):
    """Make the programs of the tutorials importable; run PyTorch on one thread, enough for small networks."""
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for folder in ("open_questions", "training"):
        monkeypatch.syspath_prepend(TESTS.parent / "tutorials" / folder)
    yield
    torch.set_num_threads(threads)
