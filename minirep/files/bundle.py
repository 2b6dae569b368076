"""A model and the code that runs it in one file: ``python app.pyz classify clip.wav``, with NumPy and nothing else.

Python runs a zip file that contains a ``__main__.py``, and imports modules from it. The model is also read from it, so
nothing is unpacked. Programs that read a zip ignore what precedes it: here, a line by which Unix runs the file as a
program (PEP 441). Two bundles of the same model by the same minirep are equal byte for byte.
"""

import io
import zipfile
from pathlib import Path

from ..errors import expect
from ..reparam import fuse
from ..text import one_line
from .modelfile import MAX_HEADER, Model, write_model
from .models import read
from .write import replacing

SHEBANG = b"#!/usr/bin/env python3\n"
MAIN = '''\
"""minirep and a model in one file: see what `python FILE --help` says."""

import sys

if sys.version_info < (3, 10):
    sys.exit("found Python %d.%d, expected 3.10 or later" % sys.version_info[:2])
try:
    try:
        import numpy
    except ImportError:
        sys.exit("found no NumPy, which is all that is needed: pip install numpy, or apt install python3-numpy")
    from minirep.cli import main
except KeyboardInterrupt:
    sys.exit(130)

sys.exit(main())
'''
# What `classify` and `listen` do not need. Compiled code is cached on disk beside its source, but not in a zip.
LEFT_OUT = (
    "fast", "proof", "evaluate", "web", "count.py", "files/bundle.py", "files/onnxfile.py",
    "cli/bench.py", "cli/bundle.py", "cli/convert.py", "cli/eval.py", "cli/export.py", "cli/fuse.py", "cli/info.py",
    "cli/verify.py", "cli/web.py",
)  # fmt: skip
DATA = ("data/class_names.json",)
PACKAGE = Path(__file__).parents[1]
LICENCE = "data/LICENSE"  # of the code
CREDITS = ("CREDITS-ESC-10.md",)


def bundle(model, path, half: bool = False) -> None:
    """Write a program to ``path`` that has minirep's commands ``classify`` and ``listen`` with this model.

    ``model`` is the path of a model file or a checkpoint; it is merged. ``half`` stores its weights as float16. Raises
    a MinirepError if the model cannot be read, or the program cannot be written.
    """
    network, recipe, labels, provenance = read(model)
    expect(recipe is not None, f"{model}: holds a network without a recipe; expected a saved classifier")
    weights = io.BytesIO()
    write_model(weights, Model(fuse(network), recipe, labels, provenance), half)
    members = {**code(), "__main__.py": MAIN.encode(), "minirep/data/bundled.npz": weights.getvalue()}
    lists = [name for name in CREDITS if name in provenance.get("credit", "")]  # of authors, to which it refers
    members |= {f"minirep/data/{name}": (PACKAGE / "data" / name).read_bytes() for name in lists}
    members |= {"LICENSE": (PACKAGE / LICENCE).read_bytes(), "MODEL.txt": about(provenance).encode()}
    with replacing(path, mode=0o777) as file:
        file.write(SHEBANG)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name in sorted(members):  # no traces of where or when it was made
                info = zipfile.ZipInfo(name)  # of 1 January 1980
                info.create_system, info.external_attr = 3, 0o100644 << 16  # an ordinary file of Unix
                archive.writestr(info, members[name])


def about(provenance: dict[str, str]) -> str:
    """Return the text of MODEL.txt: the licence, the credit and the other provenance of the model."""
    known = {"licence": "not stated", "credit": "not stated", **provenance}
    facts = [one_line(f"{key}: {text}", MAX_HEADER) for key, text in known.items()]
    lines = ["The model of this program, minirep/data/bundled.npz:", *facts]
    return "\n".join([*lines, "The code around it has a licence of its own: see LICENSE.", ""])


def code() -> dict[str, bytes]:
    """Return {name in the zip: content} of the part of this package that a bundle needs."""
    names = [path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")]
    kept = [name for name in names if name not in LEFT_OUT and name.partition("/")[0] not in LEFT_OUT]
    return {f"minirep/{name}": (PACKAGE / name).read_bytes() for name in (*kept, *DATA)}
