"""What merging is worth elsewhere: exported networks in ONNX Runtime and OpenVINO, unmerged against merged.

    python tests/benchmarks/exported.py [--rounds 25]

Full size, random weights, one example of 416 x 128, one thread. All run interleaved, and the median of each is printed.
"""

import argparse
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import openvino

import minirep
from minirep.files.modelfile import Model
from minirep.files.onnxfile import write_onnx

FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}


def contenders(folder: Path) -> dict:
    """{(network, form, runtime): a function of log-mels}."""
    runs, options = {}, onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    for kind in ("AudioRepInceptionNeXt", "AudioInceptionNeXt"):
        network = minirep.random_network(minirep.Architecture(kind, heads={"class": 44}, frames=416))
        for form in ("unmerged", "merged"):
            path = str(folder / f"{kind}-{form}.onnx")
            write_onnx(path, Model(network, None, {}, {}), branches=form == "unmerged")
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            runs[kind, form, "ONNX Runtime"] = lambda x, session=session: session.run(None, {"log_mels": x})[0]
            model = openvino.Core().compile_model(path, "CPU", FLOAT32)
            runs[kind, form, "OpenVINO, float32"] = lambda x, model=model: model(x)[0]
    return runs


def main(rounds: int) -> None:
    x = np.random.default_rng(0).normal(-5, 3, (1, 416, 128)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        runs = contenders(Path(folder))
        times = {name: [] for name in runs}
        for done in range(rounds + 2):  # the first two warm up
            for name, run in runs.items():
                start = time.perf_counter()
                run(x)
                if done > 1:
                    times[name].append(time.perf_counter() - start)
    print(
        f"Python {platform.python_version()}, ONNX Runtime {onnxruntime.__version__}, OpenVINO {openvino.__version__}"
    )
    for name, seconds in times.items():
        print(f"{', '.join(name):55} {1e3 * statistics.median(seconds):6.1f} ms, fastest {1e3 * min(seconds):6.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25)
    main(parser.parse_args().rounds)
