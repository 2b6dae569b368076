"""In other people's programs: threads, fork, pickle, a cluster, a web service. What the guides show is run here."""

import multiprocessing
import os
import pickle
import re
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import minirep
from minirep import RECIPES, Architecture, Classifier, network

GUIDE = Path(__file__).parents[1] / "docs" / "guide"
DEMO = Path(minirep.__file__).parent / "data" / "demo"
CLIPS = sorted(map(str, DEMO.glob("*.wav")))
SPEECH = RECIPES["speech-commands-v2"]


def backends():
    try:
        import numba  # noqa: F401
    except ImportError:
        return ["numpy"]
    return ["numpy", "numba"]


@pytest.fixture(scope="module", params=backends())
def clf(request):
    arch = Architecture(width=2, depths=(1, 1, 1, 1), heads={"class": 5}, frames=SPEECH.frames)
    return Classifier(network.random_network(arch), SPEECH, backend=request.param).fused()


def answer(clf, path):
    return clf.classify(path).probabilities["class"]


def test_threads_share_a_classifier(clf):
    want = [answer(clf, path) for path in CLIPS]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda path: answer(clf, path), CLIPS * 3))
    np.testing.assert_array_equal(found, want * 3)


def test_threads_have_streams_of_their_own(clf):
    def heard(seed):
        stream = minirep.Stream(clf, 16000, threshold=0.01, ignore=())
        samples = np.random.default_rng(seed).normal(0, 0.1, 20000).astype(np.float32)
        return [e for i in range(0, 20000, 3000) for e in stream.feed(samples[i : i + 3000])] + stream.close()

    want = [heard(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(heard, range(4))) == want


def test_threads_share_a_recording(clf):
    recording = minirep.audio.open_recording(CLIPS[0])
    want = answer(clf, CLIPS[0])
    with ThreadPoolExecutor(4) as pool:
        np.testing.assert_array_equal(list(pool.map(lambda _: answer(clf, recording), range(8))), [want] * 8)


def test_pickled_it_is_the_same_classifier(clf):
    copy = pickle.loads(pickle.dumps(clf))
    assert (copy.recipe, copy.labels, copy.backend) == (clf.recipe, clf.labels, clf.backend)
    np.testing.assert_array_equal(answer(copy, CLIPS[0]), answer(clf, CLIPS[0]))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_after_a_fork_both_sides_work(clf):
    """The parent has classified, so that threads and memory are warm; the children use what they inherit."""
    want = answer(clf, CLIPS[0])
    results = multiprocessing.get_context("fork").SimpleQueue()
    children = [
        multiprocessing.get_context("fork").Process(target=lambda: results.put(answer(clf, CLIPS[0]))) for _ in range(2)
    ]
    for child in children:
        child.start()
    np.testing.assert_array_equal(answer(clf, CLIPS[0]), want)
    for child in children:
        child.join(60)
        assert child.exitcode == 0, "a child hangs or failed"
        np.testing.assert_array_equal(results.get(), want)


def test_a_process_pool_that_starts_afresh():
    arch = Architecture(width=2, depths=(1, 1, 1, 1), heads={"class": 5}, frames=SPEECH.frames)
    clf = Classifier(network.random_network(arch), SPEECH, backend="numpy")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = pool.submit(clf.classify, CLIPS[0]).result(60)
    np.testing.assert_array_equal(found.probabilities["class"], answer(clf, CLIPS[0]))


# --- what the guides show ---------------------------------------------------------------------------------------------


def shown_code(page):
    """The Python blocks of a page that needs more than minirep's own extras, in one piece."""
    return "\n".join(re.findall(r"^```py\n(.*?)^```", (GUIDE / page).read_text("utf-8"), re.M | re.S))


@pytest.fixture
def default(monkeypatch):
    """Stands for the shipped model, which may not be there."""
    arch = Architecture(width=2, depths=(1, 1, 1, 1), heads={"class": 5}, frames=SPEECH.frames)
    clf = Classifier(network.random_network(arch), SPEECH, backend="numpy")
    monkeypatch.setattr(minirep, "load", lambda *_, **__: clf)
    return clf


def test_an_archive_on_a_cluster(default, tmp_path):
    distributed = pytest.importorskip("distributed", reason="needs dask[distributed]")
    for i, clip in enumerate(CLIPS[:4]):
        (tmp_path / f"{i}.wav").write_bytes(Path(clip).read_bytes())
    (tmp_path / "bad.wav").write_bytes(Path(CLIPS[0]).read_bytes()[:1000])
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=str(tmp_path / "dask")
    )
    code = shown_code("many-machines.md").replace("100", "2")  # paths in a task
    page = {"__name__": "page", "ADDRESS": cluster.scheduler_address, "ARCHIVE": tmp_path}
    with cluster:
        exec(compile(code, "many-machines.md", "exec"), page)
        page["client"].close()
    assert sorted(Path(path).name for path in page["answers"]) == ["0.wav", "1.wav", "2.wav", "3.wav", "bad.wav"]
    assert "truncated" in page["answers"].pop(str(tmp_path / "bad.wav"))
    assert page["answers"] == {p: default.classify(p).top(1)[0][0] for p in page["answers"]}


@pytest.fixture
def service(default):
    """(the page's module, a client of its service)."""
    testclient = pytest.importorskip("fastapi.testclient", reason="needs fastapi and httpx")
    code = shown_code("serve.md")
    assert len(code.splitlines()) < 45
    page = {"__name__": "service"}
    exec(compile(code, "serve.md", "exec"), page)
    with testclient.TestClient(page["app"]) as client:
        yield page, client
    page["pool"].shutdown()


def test_a_service_answers(service, default):
    _, client = service
    sound = Path(CLIPS[0]).read_bytes()
    reply = client.post("/classify?top=2", content=sound)
    want = [{"label": label, "probability": p} for label, p in default.classify(CLIPS[0]).top(2)]
    assert reply.status_code == 200 and reply.json() == {"top": want}
    assert client.post("/classify", content=sound[:1000]).status_code == 400
    assert "truncated" in client.post("/classify", content=sound[:1000]).json()["detail"]
    assert client.post("/classify", content=b"").status_code == 400
    assert client.post("/classify?top=x", content=sound).status_code == 422


def test_a_service_limits_bytes(service):
    page, client = service
    page["MOST_BYTES"] = 1000
    sent = []

    def endless():
        while len(sent) < 1000:
            sent.append(1)
            yield bytes(100)

    assert client.post("/classify", content=bytes(1001)).status_code == 413
    assert client.post("/classify", content=endless()).status_code == 413


def test_a_service_limits_time(service, monkeypatch):
    page, client = service
    page["MOST_SECONDS"] = 0.2
    released = threading.Event()
    monkeypatch.setattr(page["clf"], "classify", lambda _: released.wait(20))
    begin = time.monotonic()
    reply = client.post("/classify", content=b"RIFF")
    released.set()
    assert reply.status_code == 503 and time.monotonic() - begin < 10
