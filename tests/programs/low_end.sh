#!/usr/bin/env bash
# Runs the properties as on a small processor: no Numba, no vector extensions, no compiler, one thread, 512 MiB.
# Needs the extras "test" and "fast". PYTHON names the interpreter.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python}
export HYPOTHESIS_PROFILE=${HYPOTHESIS_PROFILE:-quick} PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$PWD
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMBA_NUM_THREADS=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

properties() { # title, then the command that sets the environment
    printf '\n-- %s\n' "$1"
    shift
    "$@" "$python" -m pytest -q -p no:cacheprovider tests/test_exact.py tests/test_laws.py
}

# This module comes before the real one on the path and cannot be imported.
echo 'raise ImportError("hidden by tests/programs/low_end.sh")' >"$work/numba.py"
alone() { PYTHONPATH=$work:$PYTHONPATH "$@"; }
limited() { (ulimit -v $((512 * 1024)) && "$@"); } # KiB of address space, of which a part is never touched

properties "NumPy alone" alone
properties "NumPy alone, within 512 MiB" limited alone
properties "Numba on a baseline processor" env NUMBA_CPU_NAME=generic NUMBA_CPU_FEATURES= NUMBA_CACHE_DIR="$work/generic"
properties "Numba with its compiler switched off" env NUMBA_DISABLE_JIT=1

printf '\n-- minirep verify, NumPy alone, within 512 MiB\n'
cat >"$work/model.py" <<'PYTHON'
import sys

from minirep import RECIPES, Architecture, Classifier, random_network, save

arch = Architecture(width=16, heads={"class": 35}, frames=512)
save(Classifier(random_network(arch), RECIPES["speech-commands-v2"]), sys.argv[1])
PYTHON
"$python" "$work/model.py" "$work/model.npz"
limited alone "$python" -m minirep verify "$work/model.npz" | tail -4
