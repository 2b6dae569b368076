"""`classify --dask` and `eval --dask` on a cluster of this computer: the same as here, also when workers are lost."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from stand_ins import tiny_classifier

import minirep
from minirep import MinirepError
from minirep.cli import main, pool
from minirep.cli.pool import Work, answers

CLIPS = sorted((Path(minirep.__file__).parent / "data/demo").glob("*.wav"))


class Deadly(Work):
    """Work that ends the whole process where a file's name says so."""

    def answer(self, file):
        if "poison" in file:
            os._exit(1)
        return super().answer(file)


@pytest.fixture(scope="module")
def work():
    return Work(tiny_classifier({"class": 5}, backend="numpy"), None)


@pytest.fixture(scope="module")
def local_cluster(tmp_path_factory):
    """Two worker processes with nannies, which start another when one is lost."""
    distributed = pytest.importorskip("distributed", reason="needs the extra dask")
    helpers = str(Path(__file__).parent / "helpers")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), helpers, *filter(None, [before])])
    folder = str(tmp_path_factory.mktemp("dask"))
    try:
        with distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", local_directory=folder
        ) as found:
            yield found
    finally:
        os.environ.pop("PYTHONPATH")
        os.environ.update({} if before is None else {"PYTHONPATH": before})


@pytest.fixture
def folder(tmp_path):
    """Ten clips five times, and one that is cut."""
    for i, clip in enumerate(CLIPS * 5):
        (tmp_path / f"{i:02}-{clip.stem}.wav").write_bytes(clip.read_bytes())
    (tmp_path / "07-bad.wav").write_bytes(CLIPS[0].read_bytes()[:1000])
    return tmp_path


def same(found, expected):
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        if isinstance(b, str):
            assert a == b
        else:
            np.testing.assert_array_equal(a["class"], b["class"])


def test_classify_prints_the_same(folder, work, local_cluster, capsys, tmp_path):
    model = str(tmp_path / "model.npz")
    minirep.save(work.classifier, model)
    command = ["classify", "--csv", "--backend", "numpy", "--model", model, str(folder)]
    assert main(command) == 1
    expected = capsys.readouterr()
    assert main([*command, "--dask", local_cluster.scheduler_address]) == 1
    assert capsys.readouterr() == expected and "07-bad.wav: truncated" in expected.err


def test_eval_measures_the_same(folder, work, local_cluster, capsys, tmp_path):
    labels = work.classifier.labels["class"]
    (tmp_path / "m.csv").write_text(
        "path,label\n"
        + "".join(f"{path.name},{labels[i % 5]}\n" for i, path in enumerate(sorted(folder.glob("*.wav"))))
    )
    minirep.save(work.classifier, tmp_path / "model.npz")
    command = ["eval", str(tmp_path / "m.csv"), "--backend", "numpy", "--model", str(tmp_path / "model.npz")]
    assert main([*command, "--predictions", str(tmp_path / "here.csv")]) == 1
    expected = capsys.readouterr()
    address = local_cluster.scheduler_address
    assert main([*command, "--predictions", str(tmp_path / "there.csv"), "--dask", address]) == 1
    assert capsys.readouterr() == expected
    assert (tmp_path / "there.csv").read_bytes() == (tmp_path / "here.csv").read_bytes()


def test_a_worker_that_is_killed_costs_nothing(folder, work, local_cluster, monkeypatch):
    """Nothing is lost, nothing comes twice, and the order stays."""
    monkeypatch.setattr(pool, "BATCH", 2)
    files = [str(path) for path in sorted(folder.glob("*.wav"))] * 3
    there = answers(work, files, 1, local_cluster.scheduler_address)
    found = [next(there) for _ in range(5)]
    os.kill(next(iter(local_cluster.workers.values())).pid, signal.SIGKILL)
    same(found + list(there), list(answers(work, files, 1)))


def test_a_file_that_kills_workers_is_lost_alone(folder, work, local_cluster, monkeypatch):
    monkeypatch.setattr(pool, "BATCH", 3)
    monkeypatch.setattr(local_cluster.scheduler, "allowed_failures", 0)
    files = [str(path) for path in sorted(folder.glob("*.wav"))[:20]]
    expected = list(answers(work, files, 1))
    deadly = Deadly(work.classifier, None)
    found = list(answers(deadly, [*files[:7], "poison", *files[7:]], 1, local_cluster.scheduler_address))
    assert "workers that read it were killed" in found.pop(7)
    same(found, expected)


def test_tasks_ahead_are_bounded(work, local_cluster, monkeypatch):
    monkeypatch.setattr(pool, "BATCH", 1)
    asked = []

    class Files:
        def __len__(self):
            return 1000

        def __iter__(self):
            for i in range(1000):
                asked.append(i)
                yield str(CLIPS[i % 10])

    there = answers(work, Files(), 1, local_cluster.scheduler_address)
    next(there)
    assert len(asked) <= 4 * 2
    there.close()


def test_it_waits_for_the_first_worker(work, capsys):
    distributed = pytest.importorskip("distributed", reason="needs the extra dask")
    with distributed.LocalCluster(
        n_workers=0, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=":0"
    ) as empty:
        threading.Timer(0.5, empty.scale, [1]).start()
        same(list(answers(work, CLIPS[:1] * 3, 1, empty.scheduler_address)), list(answers(work, CLIPS[:1] * 3, 1)))
    assert "has no workers yet; waiting for them" in capsys.readouterr().err


def test_a_scheduler_that_goes_is_one_line(folder, work):
    distributed = pytest.importorskip("distributed", reason="needs the extra dask")
    files = [str(path) for path in sorted(folder.glob("*.wav"))] * 20
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=":0"
    ) as short:
        there = answers(work, files, 1, short.scheduler_address)
        next(there)
    with pytest.raises(MinirepError, match="--dask"):
        list(there)


@pytest.mark.parametrize("address", ["", "garbage", "http://x", "tcp://127.0.0.1:1", "tcp://[::1", "a\nb"])
def test_where_no_scheduler_is(address, monkeypatch):
    pytest.importorskip("distributed", reason="needs the extra dask")
    monkeypatch.setattr(pool, "PATIENCE", 0.3)
    with pytest.raises(MinirepError, match="found no scheduler at") as error:
        list(answers(Work(None, None), ["a.wav"], 1, address))
    assert "\n" not in str(error.value)


def test_a_missing_extra_is_one_line(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main(["classify", str(CLIPS[0]), "--dask", "tcp://127.0.0.1:1"]) == 2
    err = capsys.readouterr().err
    assert "pip install 'minirep[dask]'" in err and err.count("\n") == 1


def test_nothing_of_dask_is_imported_without_it():
    unwanted = "{'dask', 'distributed'} & {*sys.modules}"
    code = f"import sys; from minirep.cli import main; main(sys.argv[1:]); assert not {unwanted}"
    assert subprocess.run([sys.executable, "-c", code, "classify", CLIPS[0]], timeout=60).returncode == 0
