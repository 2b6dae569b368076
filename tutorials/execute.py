"""Run the tutorials, and the hidden answers to their exercises, each in a fresh kernel and a temporary folder.

    python tutorials/execute.py              all that the installed packages allow; exit status 1 if any of them fails
    python tutorials/execute.py 1 4          these
    python tutorials/execute.py --save 4     and keep the outputs in the notebook

Needs the extra: pip install 'minirep[tutorials]'. A notebook is left out where what it needs beside that is missing:
Numba for 2 and 7, a system with `resource` (Linux, macOS) for 8, PyTorch for 9.
"""

import argparse
import base64
import importlib.util
import io
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

HERE = Path(__file__).resolve().parent
NEEDS = {2: ("numba",), 7: ("numba",), 8: ("resource",), 9: ("torch",)}  # beside what all of them need
LIMIT = 120  # seconds for one notebook
COLOURS = 128  # of a saved picture: a palette makes it half as large, and nobody sees a difference


def notebooks() -> dict[int, Path]:
    """By their number, in the order they are meant to be read."""
    numbered = {int(path.name.split("-")[0]): path for path in HERE.glob("[0-9]*-*.ipynb")}
    return dict(sorted(numbered.items()))


def answers(cell) -> list[str]:
    """The Python code in the hidden answers of a text."""
    hidden = re.findall(r"(?s)<details>.*?</details>", cell.source if cell.cell_type == "markdown" else "")
    return re.findall(r"(?s)```python\n(.*?)```", "\n".join(hidden))


def execute(path: Path, limit: float):
    """The notebook with fresh outputs. Each answer runs where it stands; of it only errors matter."""
    notebook = nbformat.read(path, as_version=4)
    cells, notebook.cells = notebook.cells, []
    for cell in cells:
        notebook.cells += [cell, *(nbformat.v4.new_code_cell(code) for code in answers(cell))]
    deadline = time.monotonic() + limit
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "tutorials"
        shutil.copytree(HERE, work, ignore=shutil.ignore_patterns("*.ipynb", "__pycache__", ".*"))
        client = NotebookClient(
            notebook,
            timeout_func=lambda cell: max(1, int(deadline - time.monotonic())),
            resources={"metadata": {"path": str(work)}},
            record_timing=False,
        )
        client.execute()
    notebook.cells = cells
    number = 0
    for cell in cells:
        if cell.cell_type == "code":
            number += 1
            cell.execution_count = number
            for output in cell.outputs:
                if "execution_count" in output:
                    output.execution_count = number
    return notebook


def save(notebook, path: Path) -> None:
    """Write the notebook with nothing in it that differs from one computer to the next but its outputs."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number}", {}
        for output in cell.get("outputs", ()):
            picture = output.get("data", {}).get("image/png")
            if picture:
                output["data"]["image/png"] = base64.b64encode(smaller(base64.b64decode(picture))).decode()
                output["metadata"] = {}
    nbformat.validate(notebook)
    nbformat.write(notebook, path)


def smaller(picture: bytes) -> bytes:
    """A PNG with a palette in place of full colours."""
    from PIL import Image  # comes with matplotlib

    file = io.BytesIO()
    image = Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", nargs="*", type=int, help="which notebooks (default: all)")
    parser.add_argument("--save", action="store_true", help="write the outputs into the notebooks")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds for one notebook (default: %(default)s)")
    args = parser.parse_args()
    found = notebooks()
    unknown = set(args.numbers) - set(found)
    if unknown:
        parser.error(f"no notebook {', '.join(map(str, sorted(unknown)))}; there are {', '.join(map(str, found))}")
    failed, start = [], time.monotonic()
    for number, path in found.items():
        if args.numbers and number not in args.numbers:
            continue
        missing = [package for package in NEEDS.get(number, ()) if importlib.util.find_spec(package) is None]
        if missing:
            print(f"{path.name}: left out, it needs {', '.join(missing)}", flush=True)
            continue
        began = time.monotonic()
        try:
            notebook = execute(path, args.limit)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            failed.append(path.name)
            print(f"{path.name}: FAILED\n{error}", flush=True)
            continue
        if args.save:
            save(notebook, path)
        print(f"{path.name}: {time.monotonic() - began:.1f} s", flush=True)
    print(f"together {time.monotonic() - start:.1f} s" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
