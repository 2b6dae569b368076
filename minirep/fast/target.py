"""What the processor offers: how wide its vectors are, and how many of them stay in registers.

Code is made for this computer, or for what NUMBA_CPU_NAME and NUMBA_CPU_FEATURES say, which are Numba's own settings.
"""

import os

import llvmlite.binding as llvm

TRIPLE = llvm.get_process_triple()  # as in x86_64-unknown-linux-gnu
CPU = os.environ.get("NUMBA_CPU_NAME") or llvm.get_host_cpu_name()
FEATURES = os.environ.get("NUMBA_CPU_FEATURES")
if FEATURES is None:  # "+avx2,+fma ..."
    FEATURES = llvm.get_host_cpu_features().flatten() if llvm.get_host_cpu_name() == CPU else ""

_on = {name[1:] for name in FEATURES.split(",") if name.startswith("+")}

ROWS = 6  # positions that one block of the matrix product works on together
if "avx512f" in _on:
    LANES, VECTORS = 16, 4  # 32 registers of 16 floats: 6 x 4 sums, 4 weights, 1 or 2 inputs
elif "avx2" in _on and "fma" in _on:
    LANES, VECTORS = 8, 2  # 16 registers of 8 floats: 6 x 2 sums, 2 weights, 1 or 2 inputs
elif TRIPLE.startswith(("aarch64", "arm64")):
    LANES, VECTORS = 4, 4  # NEON: 32 registers of 4 floats
else:
    LANES, VECTORS = 4, 2  # SSE2, which every 64-bit x86 has: 16 registers of 4 floats

PANEL = LANES * VECTORS  # output channels that one block of the matrix product yields
