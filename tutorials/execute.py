"""Run the tutorials and the hidden answers to their exercises, each in a fresh kernel and a temporary folder.

    python tutorials/execute.py              run all that the installed packages allow; exit status 1 if one fails
    python tutorials/execute.py 1 4          run these
    python tutorials/execute.py --save 4     and store the outputs in the notebook

Needs the extra: pip install 'minirep[tutorials]'. A notebook is skipped if something else that it needs is missing:
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
NEEDS = {2: ("numba",), 7: ("numba",), 8: ("resource",), 9: ("torch",)}  # in addition to the extra
LIMIT = 120  # seconds for one notebook
SMALL = 20_000  # pixels of a heat map up to which it is stored as PNG; WebP blurs thin coloured lines
QUALITY = 80  # of a stored WebP
COLOURS = 128  # of a stored PNG: a palette halves its size without a visible difference


def notebooks() -> dict[int, Path]:
    """The notebooks by number, in reading order."""
    numbered = {int(path.name.split("-")[0]): path for path in HERE.glob("[0-9]*-*.ipynb")}
    return dict(sorted(numbered.items()))


def answers(cell) -> list[str]:
    """The Python code in the hidden answers of a markdown cell."""
    hidden = re.findall(r"(?s)<details>.*?</details>", cell.source if cell.cell_type == "markdown" else "")
    return re.findall(r"(?s)```python\n(.*?)```", "\n".join(hidden))


def execute(path: Path, limit: float):
    """The notebook with fresh outputs. Each hidden answer runs after its cell; its outputs are discarded."""
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
    """Write the notebook; only its outputs can differ from one computer to the next."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for number, cell in enumerate(notebook.cells):
        tags = cell.metadata.get("tags")
        cell.id, cell.metadata = f"cell-{number}", {"tags": tags} if tags else {}
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "image/png" in data:
                data["image/png"], output.metadata = smaller(data["image/png"], lossy=False)[1], {}
            if "image/svg+xml" in data:
                data["image/svg+xml"] = re.sub(
                    r'data:image/png;base64,\s*([^"]+)',
                    lambda found: "data:image/{};base64,{}".format(*smaller(found[1])),
                    data["image/svg+xml"],
                )
                # Jupyter reads the alternative text in the output's metadata, the site (MyST-NB) in the cell's.
                cell.metadata["mystnb"] = {"image": {"alt": output.metadata["image/svg+xml"]["alt"]}}
    nbformat.validate(notebook)
    nbformat.write(notebook, path)


def smaller(picture: str, lossy: bool = True) -> tuple[str, str]:
    """A PNG in Base64 -> (format, the picture in Base64): a large heat map as WebP, others with a palette."""
    from PIL import Image  # comes with matplotlib

    file = io.BytesIO()
    image = Image.open(io.BytesIO(base64.b64decode(picture)))
    transparent = image.mode == "RGBA" and image.getextrema()[3][0] < 255  # somewhere
    kind = "webp" if lossy and not transparent and image.width * image.height > SMALL else "png"
    if kind == "webp":
        image.convert("RGB").save(file, "WEBP", quality=QUALITY, method=6)
    else:
        method = Image.Quantize.FASTOCTREE if transparent else Image.Quantize.MEDIANCUT
        image = image.convert("RGBA" if transparent else "RGB").quantize(COLOURS, method, dither=Image.Dither.NONE)
        image.save(file, "PNG", optimize=True)
    return kind, base64.b64encode(file.getvalue()).decode()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", nargs="*", type=int, help="which notebooks (default: all)")
    parser.add_argument("--save", action="store_true", help="store the outputs in the notebooks")
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
            print(f"{path.name}: skipped, it needs {', '.join(missing)}", flush=True)
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
