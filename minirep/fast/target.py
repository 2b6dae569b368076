"""The processor's vectors, registers and caches, and the block sizes chosen for them.

Code is compiled for this computer's processor, or for the one that NUMBA_CPU_NAME and NUMBA_CPU_FEATURES name. Both
are Numba's own settings.
"""

import ctypes
import os
import sys

import llvmlite.binding as llvm

TRIPLE = llvm.get_process_triple()  # as in x86_64-unknown-linux-gnu
ARM = TRIPLE.startswith(("aarch64", "arm64"))
CPU = os.environ.get("NUMBA_CPU_NAME") or llvm.get_host_cpu_name()
FEATURES = os.environ.get("NUMBA_CPU_FEATURES")
if FEATURES is None:
    FEATURES = ""
    if llvm.get_host_cpu_name() == CPU:
        FEATURES = llvm.get_host_cpu_features().flatten()  # "+avx2,+fma ..."
        if ARM and sys.platform == "linux":  # LLVM may not look for bfloat16
            hwcap2, has_bfloat16 = 26, 1 << 14  # Documentation/arch/arm64/elf_hwcaps.rst
            FEATURES += ",+bf16" if ctypes.CDLL(None).getauxval(hwcap2) & has_bfloat16 else ""

_on = {name[1:] for name in FEATURES.split(",") if name.startswith("+")}

# Register blocking: floats in a vector, and the block of sums (ROWS x VECTORS) that stays in registers.
ROWS = 6
if "avx512f" in _on:
    LANES, VECTORS = 16, 4  # 32 registers of 16 floats: 6 x 4 sums, 4 weights, 1 or 2 inputs
elif "avx2" in _on and "fma" in _on:
    LANES, VECTORS = 8, 2  # 16 registers of 8 floats: 6 x 2 sums, 2 weights, 1 or 2 inputs
elif ARM:
    LANES, VECTORS = 4, 4  # NEON: 32 registers of 4 floats
else:
    LANES, VECTORS = 4, 2  # SSE2, which every 64-bit x86 has: 16 registers of 4 floats


def _tiles_allowed() -> bool:
    """Request AMX's tile registers from Linux, as a process must do once; return whether it may use them."""
    if not sys.platform.startswith("linux") or not TRIPLE.startswith("x86_64"):
        return False
    arch_prctl, request_permission, tile_data = 158, 0x1023, 18  # Documentation/arch/x86/xstate.rst
    return ctypes.CDLL(None).syscall(arch_prctl, request_permission, tile_data) == 0


# How bfloat16 numbers are multiplied. TILES: by AMX, 16 x 16 sums of 32 products in one instruction. PAIRS: in words of
# two, by AMX, by Arm's dot product (BFDOT), or by AVX-512's, which AMD does at twice the rate of float32, and Intel at
# half of it. Otherwise, they are multiplied as float32.
TILES = int(LANES == 16 and {"amx-tile", "amx-bf16"} <= _on and _tiles_allowed())
PAIRS = int(TILES or (ARM and "bf16" in _on) or (LANES == 16 and "avx512bf16" in _on and CPU.startswith("znver")))
TILE_SIDE = 16  # rows of a tile, and words in each

PANEL = LANES * VECTORS  # output channels of one block

# Cache blocking, for a second-level cache of 512 KiB or more: it holds one panel of weights and one tile of rows, so
# the panel serves every row of the tile before it is evicted.
K_BLOCK = 512  # input channels summed in one pass, and hidden channels of a chunk: a panel of 512 x 64 is 128 KiB
TILE_FLOATS = 96 * 1024  # most floats of x, hidden and out together in a tile: 384 KiB
TILE_ROWS = 40 * ROWS  # most rows of a tile, however few channels they have

COLUMN_SPLIT_ROWS = 96  # up to so many rows, threads split the columns: each then reads only its share of the weights
