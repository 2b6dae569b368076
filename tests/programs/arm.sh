#!/usr/bin/env bash
# minirep on Arm, without an Arm board: Debian 12 for arm64 and armhf under qemu, its own Python 3.11 and NumPy 1.24.
#
#     sudo bash tests/programs/arm.sh FOLDER [arm64] [armhf]
#
# Needs root, the network, some 3 GB in FOLDER and the packages debootstrap, qemu-user-static and binfmt-support.
# Roots that are in FOLDER already are used again. Emulation is slow: hours are normal, and figures of time mean nothing.
# HYPOTHESIS_PROFILE=quick is the default here. PYTHON names an interpreter with NumPy for what is compared.
set -euo pipefail
repository=$(cd "$(dirname "$0")/../.." && pwd)
folder=$(realpath -m "${1:?a folder for the roots}")
shift
systems=("$@")
[ $# -gt 0 ] || systems=(arm64 armhf)
python=${PYTHON:-python3}
mirror=${MIRROR:-http://deb.debian.org/debian}
[ "$(id -u)" = 0 ] || { echo "$0: needs root, for debootstrap and chroot" >&2; exit 2; }
mkdir -p "$folder/wheels"

if [ ! -e /proc/sys/fs/binfmt_misc/status ]; then mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc; fi
for name in qemu-aarch64 qemu-arm; do
    if [ ! -e "/proc/sys/fs/binfmt_misc/$name" ]; then update-binfmts --enable "$name"; fi
done

# What is pure Python comes from PyPI as it is; only Numba's kernels need wheels made for Arm.
fetch() { "$python" -m pip download -q --only-binary=:all: --python-version 3.11 --implementation cp "$@"; }
if ! ls "$folder"/wheels/hypothesis-*.whl >/dev/null 2>&1; then
    fetch --platform any -d "$folder/wheels" 'pytest>=7.4,<9' 'hypothesis>=6.80,<6.150'
fi
if ! ls "$folder"/wheels-arm64/numba-*.whl >/dev/null 2>&1; then
    fetch --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64 --platform manylinux_2_27_aarch64 \
        --platform manylinux_2_28_aarch64 -d "$folder/wheels-arm64" numba numpy
fi
unpack() { for wheel in "$1"/*.whl; do "$python" -m zipfile -e "$wheel" "$2"; done; }

# What the stages of two small networks yield here, to be held against there.
cat >"$folder/outputs.py" <<'PYTHON'
import sys

import numpy as np

import minirep

found = {}
for kind in ("AudioRepInceptionNeXt", "AudioInceptionNeXt"):
    net = minirep.random_network(minirep.Architecture(kind=kind, width=8, heads={"class": 5}, frames=64), seed=1)
    x = np.random.default_rng(2).normal(-5, 3, (2, 64, 128)).astype(np.float32)
    for name, tree in (("branches", net), ("merged", minirep.fuse(net))):
        for stage, y in minirep.stages(tree, x):
            found[f"{kind} {name} {stage}"] = y
        for backend in sys.argv[2:]:
            clf = minirep.Classifier(tree, minirep.RECIPES["vggsound"], backend=backend)
            assert clf.backend == backend, (clf.backend, backend)
            found[f"{kind} {name} probabilities {backend}"] = clf.probabilities(x)["class"]
found["log-mel"] = minirep.log_mel_views(np.random.default_rng(3).normal(0, 0.1, 16000), 16000, "vggsound", 1)
if sys.argv[1].endswith(".npz"):
    np.savez(sys.argv[1], **found)
else:
    with np.load(sys.argv[1] + "/here.npz") as here:
        same = {k: here[k.replace("numba", "numpy")] for k in found}
        worst = max((np.abs(y - same[k]).max() / np.abs(same[k]).max(), k) for k, y in found.items())
    print(f"{len(found)} outputs, largest difference {worst[0]:.2g} of the largest value, in {worst[1]!r}")
    sys.exit(int(worst[0] > 1e-5))
PYTHON
PYTHONPATH=$repository OPENBLAS_NUM_THREADS=1 "$python" "$folder/outputs.py" "$folder/here.npz" numpy

step() { printf '\n== %s: %s (after %s s)\n' "$system" "$1" "$SECONDS"; }
inside() { # in the root, in a copy of the repository, without the network and with nothing of this environment
    chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/root PYTHONDONTWRITEBYTECODE=1 \
        OPENBLAS_NUM_THREADS=1 NUMBA_NUM_THREADS=1 HYPOTHESIS_PROFILE="${HYPOTHESIS_PROFILE:-quick}" \
        NUMBA_CACHE_DIR=/tmp/numba FUZZ_SECONDS=60 PYTHONPATH="$path" sh -c "cd /minirep && $1"
}

failed=()
try() { # goes on after a failure, and says so at the end
    step "$1"
    inside "$2" || failed+=("$system: $1")
}

for system in "${systems[@]}"; do
    root=$folder/$system
    if [ ! -e "$root/.complete" ]; then
        rm -rf "$root"
        debootstrap --arch="$system" --variant=minbase --include=python3-numpy bookworm "$root" "$mirror"
        touch "$root/.complete"
    fi
    rm -rf "$root/minirep" "$root/pure" "$root/fast" "$root/outputs"
    mkdir -p "$root/minirep" "$root/pure" "$root/fast" "$root/outputs"
    git -c safe.directory="$repository" -C "$repository" ls-files -z --cached | (cd "$repository" && tar --null --ignore-failed-read -T - -c) | tar -x -C "$root/minirep"
    cp "$folder/outputs.py" "$folder/here.npz" "$root/outputs"
    unpack "$folder/wheels" "$root/pure"

    path=/minirep:/pure
    try "what it is" 'uname -m; python3 -c "import sys, numpy; print(sys.version, numpy.__version__)"'
    try "classify --demo" 'python3 -m minirep classify --demo'
    try "the same as on this machine, within rounding" 'python3 /outputs/outputs.py /outputs numpy'
    try "a bundle, in an empty folder" \
        'python3 -m minirep bundle minirep/data/digits.npz -o /tmp/app.pyz && mkdir -p /tmp/empty && cd /tmp/empty &&
        env -u PYTHONPATH python3 /tmp/app.pyz classify /minirep/minirep/data/demo/seven.wav'
    if [ "$system" = arm64 ]; then
        unpack "$folder/wheels-arm64" "$root/fast"
        path=/minirep:/pure:/fast
        try "Numba's backend: what it is" 'python3 -c "import numpy, numba; print(numpy.__version__, numba.__version__)"'
        try "Numba's backend: the same as on this machine" 'python3 /outputs/outputs.py /outputs numpy numba'
        try "Numba's backend: classify --demo" 'python3 -m minirep classify --demo --backend numba'
    fi
    path=/minirep:/pure
    pytest='python3 -m pytest -p no:cacheprovider'
    try "proofs" "$pytest tests/test_exact.py tests/test_laws.py tests/test_verify.py"
    try "core" "$pytest tests/test_ops.py tests/test_network.py tests/test_tree.py tests/test_golden.py tests/test_frontend.py \
        tests/test_audio.py tests/test_classify.py tests/test_modelfile.py tests/test_checkpoint.py tests/test_torchfile.py tests/test_yamltext.py \
        tests/test_bundle.py tests/test_fuzz.py"
    if [ "$system" = arm64 ]; then
        path=/minirep:/pure:/fast
        # Not those that compile everything again in other processes: that takes minutes each here. The newest NumPy's
        # matrix product warns under qemu of divisions by zero, overflows and invalid values that are not there.
        try "Numba's backend: its tests" "$pytest tests/test_fast.py -k 'shape or anywhere or published or softmax or number' \
            -W ignore::RuntimeWarning"
        for cpu in max=1 cortex-a72=0; do # with BFDOT, and without it
            try "Numba's backend in bfloat16, on ${cpu%=*}" "export QEMU_CPU=${cpu%=*} &&
                python3 -c 'from minirep.fast import target; assert target.PAIRS == ${cpu#*=}' &&
                $pytest tests/test_precision.py -k 'every_backend or whole_numbers or packed or of_nan' \
                -W ignore::RuntimeWarning"
        done
    fi
done
printf '\n== %s\n' "${failed[@]/#/FAILED: }" "done after $SECONDS s"
[ ${#failed[@]} = 0 ]
