"""How thoroughly the properties are tried: HYPOTHESIS_PROFILE=ci (the default), quick, mutants or thorough."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

# Examples are derived from each test's own source, so a run is repeatable and a failure anyone's to see again.
_common = {"deadline": None, "derandomize": True, "database": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("ci", max_examples=120, **_common)
settings.register_profile("quick", max_examples=10, **_common)
# Whether a planted fault is caught is all that matters then, not its simplest example.
settings.register_profile("mutants", max_examples=12, phases=(Phase.generate,), report_multiple_bugs=False, **_common)
settings.register_profile("thorough", max_examples=1000, **{**_common, "derandomize": False})
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture
def training(monkeypatch):
    """The modules of tutorials/training can be imported; the networks of tests are too small for several threads."""
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "tutorials" / "training")
    yield
    torch.set_num_threads(threads)
