"""What the processor offers: how wide its vectors are, and how many of them stay in registers.

Numba compiles for the host, or for what NUMBA_CPU_NAME and NUMBA_CPU_FEATURES say; its own answer is read here, so that
the kernels and the compiler always agree.
"""

from numba.core.registry import cpu_target

_TRIPLE, CPU, _FEATURES = cpu_target.target_context.codegen().magic_tuple()
_ON = {name[1:] for name in _FEATURES.split(",") if name.startswith("+")}

ROWS = 6  # positions that one block of the matrix product works on together
if "avx512f" in _ON:
    LANES, VECTORS = 16, 4  # 32 registers of 16 floats: 6 x 4 sums, 4 weights, 1 or 2 inputs
elif "avx2" in _ON and "fma" in _ON:
    LANES, VECTORS = 8, 2  # 16 registers of 8 floats: 6 x 2 sums, 2 weights, 1 or 2 inputs
elif "aarch64" in _TRIPLE or "arm64" in _TRIPLE:
    LANES, VECTORS = 4, 4  # NEON: 32 registers of 4 floats
else:
    LANES, VECTORS = 4, 2  # SSE2, which every 64-bit x86 has: 16 registers of 4 floats

PANEL = LANES * VECTORS  # output channels that one block of the matrix product yields
