"""In other people's programs: threads, fork, pickle, a web service. What the guides show is run here."""

import asyncio
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
from stand_ins import tiny_classifier

import minirep

GUIDE = Path(__file__).parents[1] / "docs" / "guide"
DEMO = Path(minirep.__file__).parent / "data" / "demo"
CLIPS = sorted(map(str, DEMO.glob("*.wav")))


def backends():
    try:
        import numba  # noqa: F401
    except ImportError:
        return ["numpy"]
    return ["numpy", "numba"]


@pytest.fixture(scope="module", params=backends())
def clf(request):
    return tiny_classifier({"class": 5}, backend=request.param).fused()


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
    clf = tiny_classifier({"class": 5}, backend="numpy")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = pool.submit(clf.classify, CLIPS[0]).result(60)
    np.testing.assert_array_equal(found.probabilities["class"], answer(clf, CLIPS[0]))


# --- what the guides show ---------------------------------------------------------------------------------------------


def shown_code(page):
    """The Python blocks of a page that needs more than minirep's own extras, in one piece."""
    return "\n".join(re.findall(r"^```py\n(.*?)^```", (GUIDE / page).read_text("utf-8"), re.M | re.S))


def run_code(page, name):
    """What a page's code defines when it is imported under this name."""
    names = {"__name__": name}
    exec(compile(shown_code(page), page, "exec"), names)
    return names


@pytest.fixture
def default(monkeypatch):
    """Stands for the shipped model, which may not be there."""
    clf = tiny_classifier({"class": 5}, backend="numpy")
    monkeypatch.setattr(minirep, "load", lambda *_, **__: clf)
    return clf


@pytest.fixture
def service(default):
    """The page's module."""
    pytest.importorskip("fastapi", reason="needs FastAPI, of the extra programs")
    pytest.importorskip("httpx", reason="needs HTTPX, of the extra programs")
    pytest.importorskip("uvicorn", reason="needs uvicorn, of the extra programs")
    page = run_code("serve.md", "service")
    yield page
    page["pool"].shutdown()


def post(page, *bodies, query=""):
    """The replies to requests that are sent together. A body may be an iterator: it goes on as the service takes it."""
    import httpx

    async def together():
        transport = httpx.ASGITransport(app=page["app"])
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await asyncio.gather(*(client.post(f"/classify{query}", content=body) for body in bodies))

    return asyncio.run(together())


def wanted(clf, clip, top=3):
    return {"top": [{"label": label, "probability": p} for label, p in clf.classify(clip).top(top)]}


def test_a_service_answers(service, default):
    (reply,) = post(service, Path(CLIPS[0]).read_bytes(), query="?top=2")
    assert reply.status_code == 200 and reply.json() == wanted(default, CLIPS[0], 2)
    assert [reply.status_code for reply in post(service, b"", query="?top=x")] == [422]


def test_a_service_answers_many_at_a_time(service, default):
    replies = post(service, *(Path(clip).read_bytes() for clip in CLIPS))
    assert [reply.json() for reply in replies] == [wanted(default, clip) for clip in CLIPS]


def test_a_service_refuses_what_is_no_sound(service):
    replies = post(service, b"", b"no sound at all", Path(CLIPS[0]).read_bytes()[:1000])
    assert [reply.status_code for reply in replies] == [400] * 3
    details = [reply.json()["detail"] for reply in replies]
    assert "truncated" in details[2]
    assert all(detail.startswith("stream: ") and "/" not in detail for detail in details)  # no path of ours


def test_a_service_limits_bytes(service):
    service["MOST_BYTES"] = 1000
    sent = []

    async def endless():
        while True:
            sent.append(100)
            yield bytes(100)

    replies = post(service, bytes(1000), bytes(1001), endless())
    assert [reply.status_code for reply in replies] == [400, 413, 413]
    assert sum(sent) <= 1200  # what comes after the limit is not even read


def test_a_service_limits_the_time_of_a_slow_body(service):
    service["MOST_SECONDS"] = 0.2

    async def slow():
        yield b"RIFF"
        await asyncio.sleep(60)

    begin = time.monotonic()
    (reply,) = post(service, slow())
    assert reply.status_code == 503 and time.monotonic() - begin < 10


def test_a_service_limits_the_time_of_the_work(service, monkeypatch):
    service["MOST_SECONDS"] = 0.2
    released = threading.Event()
    monkeypatch.setattr(service["clf"], "classify", lambda _: released.wait(20))
    begin = time.monotonic()
    (reply,) = post(service, b"RIFF")
    released.set()
    assert reply.status_code == 503 and time.monotonic() - begin < 10
