"""What `minirep classify` needs for one clip with NumPy alone: memory, time, the smallest limit it works within.

    python tests/benchmarks/budget.py [--rounds 5] [--model model.npz ...]

A new process each time. The default model, a full-size network with random weights, and a bundle of the default model;
then the default model with this and that taken away. Needs Linux and NumPy alone; without network and on a read-only
file system only where `unshare` may be used (as root, or where users may have namespaces of their own).
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

CLIP = ROOT / "minirep/data/demo/seven.wav"
ALONE = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
CLASSIFY = ["classify", str(CLIP), "--csv", "--backend", "numpy"]  # this backend never looks for Numba
READ_ONLY = 'while read -r _ where _; do mount -o remount,bind,ro "$where" 2>/dev/null; done </proc/mounts; '
READ_ONLY += 'if touch "$PROBE" 2>/dev/null; then exit 99; fi; exec "$@"'


class Failed(Exception):
    """The process did not do what it should; the message is the last line that it said."""


def run(command: list[str], environment: dict | None = None, limit: int | None = None, cores: set | None = None):
    """(seconds, processor seconds, MiB at most, what it printed) of a process. ``limit``: MiB of address space."""

    def prepare():
        if limit:
            resource.setrlimit(resource.RLIMIT_AS, (limit << 20, limit << 20))
        if cores:
            os.sched_setaffinity(0, cores)

    environment = os.environ | ALONE if environment is None else environment
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=err, env=environment, preexec_fn=prepare)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        out.seek(0)
        err.seek(0)
        if process.returncode:
            lines = err.read().decode(errors="replace").strip().splitlines()
            raise Failed(lines[-1] if lines else f"exit status {process.returncode}")
        return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, out.read().decode()


def smallest(command: list[str], printed: str) -> int:
    """The smallest limit of address space, MiB, under which the same is printed."""

    def works(limit):
        try:
            return run(command, limit=limit)[3] == printed
        except Failed:
            return False

    low, high = 0, 64
    while not works(high):
        low, high = high, 2 * high
        if high > 1 << 16:
            raise SystemExit("found no limit under which it works")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle) else (middle, high)
    return high


def measured(name: str, command: list[str], rounds: int) -> str:
    """One row of the table."""
    runs = [run(command) for _ in range(rounds)]
    seconds, processor, memory = (statistics.median(r[i] for r in runs) for i in range(3))
    limit = smallest(command, runs[0][3])
    return f"| {name} | {seconds:.2f} | {processor:.2f} | {memory:.0f} | {limit} |"


def full_size(path: str) -> None:
    """A merged network as large as the published ones, with random weights."""
    import minirep

    recipe = minirep.RECIPES["vggsound"]
    network = minirep.fuse(minirep.random_network(minirep.Architecture(heads=recipe.heads, frames=recipe.frames)))
    minirep.save(minirep.Classifier(network, recipe, backend="numpy"), path)


def without(folder: Path) -> None:
    """Whether the same comes out when something is missing: one line each."""
    python, module = [sys.executable], ["-m", "minirep", *CLASSIFY]
    here = os.environ | ALONE | {"PYTHONPATH": str(ROOT)}
    bare = {key: here[key] for key in ("PATH", "PYTHONPATH", *ALONE) if key in here}
    nowhere = {"HOME": "/nonexistent", "XDG_CACHE_HOME": "/nonexistent", "TMPDIR": "/nonexistent"}
    started = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from minirep.cli import main; sys.exit(main())"
    probe = here | {"PROBE": str(folder / "probe")}
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    tries = {
        "no network": (["unshare", *user, "--net", *python, *module], here, None),
        "a read-only file system": (
            ["unshare", *user, "--mount", "sh", "-c", READ_ONLY, "sh", *python, *module],
            probe,
            None,
        ),
        "no HOME": (python + module, bare, None),
        "no folder for caches or temporary files": (python + module, bare | nowhere, None),
        "one core": (python + module, here, {min(os.sched_getaffinity(0))}),
        "python -O": ([*python, "-O", *module], here, None),
        "python -I": ([*python, "-I", "-c", started, *CLASSIFY], here, None),
    }
    printed = run(python + module, here)[3]
    for name, (command, environment, cores) in tries.items():
        try:
            said = "works" if run(command, environment, cores=cores)[3] == printed else "PRINTS SOMETHING ELSE"
        except (Failed, OSError) as error:
            refused = command[0] == "unshare" and str(error).startswith("unshare: ")
            said = f"not tried: {error}" if refused else f"FAILS: {error}"
        print(f"{name}: {said}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="runs of which the median is shown (default: 5)")
    parser.add_argument("--model", action="append", default=[], help="one more to measure")
    args = parser.parse_args()
    from minirep.files.bundle import bundle
    from minirep.files.models import model_path

    os.chdir(ROOT)
    with tempfile.TemporaryDirectory() as work:
        # A process of its own makes it, as what a parent has touched counts for its children, too.
        big, app = f"{work}/full.npz", f"{work}/app.pyz"
        make = f"import sys; sys.path[:0] = ['tests/benchmarks', '.']; import budget; budget.full_size({big!r})"
        run([sys.executable, "-c", make])
        bundle(model_path(), app)
        module = [sys.executable, "-m", "minirep", *CLASSIFY]
        rows = {"default model": module, "full size, vggsound, 2 views": [*module, "--model", big]}
        rows |= {"default model in a bundle": [sys.executable, app, *CLASSIFY]}
        rows |= {model: [*module, "--model", model] for model in args.model}
        print(
            "| one clip, one thread, NumPy alone | s | processor s | peak MiB | smallest limit, MiB of address space |"
        )
        print("|---|---|---|---|---|")
        for name, command in rows.items():
            print(measured(name, command, args.rounds), flush=True)
        print()
        without(Path(work))


if __name__ == "__main__":
    main()
