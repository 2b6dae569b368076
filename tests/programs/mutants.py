"""Mutation testing: do the tests fail when the code is wrong?

The program plants one fault at a time in the package (`faults.py` lists them all) and runs the tests that have to catch
it.

    python tests/programs/mutants.py            print caught/planted; the exit status is 0 if no fault survives
    python tests/programs/mutants.py identity   try only the faults whose names or files contain the word

A fault replaces one expression inside one function. It is caught if a test *fails*. A test that never ends stops the
program, and so does a fault whose expression is no longer in its function exactly once: the list must then be updated.

The tests are collected once. Each fault is planted in a fork of that process, by giving the function other code, and
the fork runs until the first failure; as many run at once as there are cores. Faults in the compiled kernels are
compiled, all others use the kernels that are there. It needs the extras "test" and "fast", and a system that can fork.
"""

import ast
import importlib
import inspect
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import CodeType

import pytest
from faults import PLACES, TESTS

ROOT = Path(__file__).resolve().parents[2]
FAULTS = {name: (*at, *change) for at, faults in PLACES.items() for name, change in faults.items()}
KERNELS = tuple(f"fast/{name}.py" for name in ("depthwise", "emit", "head", "matmul", "program", "rows", "stem"))
LONGEST = 300  # seconds for the tests of one fault
SETTINGS = {
    "HYPOTHESIS_PROFILE": "mutants",
    "MINIREP_BACKENDS": "numpy",  # for the laws: most faults are in the reference
    "MINIREP_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


def mutated(file: str, function: str, expression: str, replacement: str = "") -> str:
    """Return the source of a module with the expression replaced.

    ValueError unless the function is there and holds the expression exactly once.
    """
    source = (ROOT / "minirep" / file).read_text("utf-8")
    node = ast.parse(source)
    for name in function.split("."):
        inner = [n for n in ast.walk(node) if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and n.name == name]
        if len(inner) != 1:
            raise ValueError(f"{file}: found {len(inner)} definitions of {name}, expected one")
        (node,) = inner
    lines = [f"{line}\n" for line in source.split("\n")]
    start = len("".join(lines[: node.lineno - 1]))
    text = "".join(lines[node.lineno - 1 : node.end_lineno])
    if text.count(expression) != 1:
        raise ValueError(f"{file}: found {expression!r} {text.count(expression)} times in {function}, expected once")
    start += text.index(expression)
    return source[:start] + replacement + source[start + len(expression) :]


def misplaced() -> dict[str, str]:
    """Return the faults whose expressions are not in their functions exactly once: {name: what was found}."""
    found = {}
    for name, (file, function, expression, _) in FAULTS.items():
        try:
            mutated(file, function, expression)
        except (ValueError, OSError) as error:
            found[name] = str(error)
    return found


def tests_of(fault: tuple[str, str, str, str]) -> tuple[str, ...]:
    """The tests that have to catch a fault: those for its function, or else those for its file."""
    return TESTS.get(fault[:2], TESTS.get(fault[0], ()))


# --- planting -----------------------------------------------------------------------------------------------------


def inner_code(code: CodeType, name: str) -> CodeType:
    """The code of a function or class that is defined in this code."""
    return next(c for c in code.co_consts if isinstance(c, CodeType) and c.co_name == name)


def bare(value):
    """The function behind a property, a decorator, or one of Numba's."""
    for attribute in ("fget", "__func__", "py_func", "_defn", "__wrapped__"):
        inner = inspect.getattr_static(value, attribute, None) and getattr(value, attribute, None)
        if inner is not None:
            return bare(inner)
    return value


def plant(file: str, function: str, expression: str, replacement: str) -> None:
    """Give the function other code, in this process: whoever has imported it runs that as well."""
    code = compile(mutated(file, function, expression, replacement), str(ROOT / "minirep" / file), "exec")
    found = importlib.import_module("minirep." + file.removesuffix(".py").replace("/", ".").removesuffix(".__init__"))
    for name in function.split("."):
        code, found = inner_code(code, name), inspect.getattr_static(found, name)
    found = bare(found)
    if found.__code__ == code:
        raise ValueError(f"{file}: {function} does not change where {replacement!r} replaces {expression!r}")
    found.__code__ = code
    forget()
    if file in KERNELS:
        from minirep.fast import build

        build._read, build._keep = lambda: None, lambda code: None


def forget() -> None:
    """Empty the caches of what the right code has computed."""
    for name, module in list(sys.modules.items()):
        if name.startswith("minirep.") and not name.startswith("minirep.fast"):
            for value in vars(module).values():
                if hasattr(value, "cache_clear"):
                    value.cache_clear()


# --- running ------------------------------------------------------------------------------------------------------


class Planter:
    """A plugin for pytest that runs the collected tests on each fault instead of once."""

    def __init__(self, chosen: dict, folder: str):
        self.chosen, self.folder, self.survived, self.running = chosen, folder, [], {}

    def pytest_runtestloop(self, session) -> bool:
        if session.testsfailed:
            pytest.exit("the tests could not be collected", 2)
        self.session = session
        width = max(map(len, self.chosen))
        self.started = time.monotonic()
        files = dict.fromkeys(file for file, *_ in self.chosen.values())
        jobs = [("no fault", tests, None) for tests in dict.fromkeys(map(tests_of, self.chosen.values()))]
        jobs += [(name, tests_of(fault), fault) for name, fault in self.chosen.items()]
        print()
        for job in jobs:
            if len(self.running) == (os.cpu_count() or 1):
                self.wait(width)
            self.start(*job)
        while self.running:
            self.wait(width)
        caught = len(self.chosen) - len(self.survived)
        by_file = {file: [name for name, fault in self.chosen.items() if fault[0] == file] for file in files}
        print()
        for file, names in by_file.items():
            print(f"{file:24} {sum(name not in self.survived for name in names)}/{len(names)}")
        seconds = time.monotonic() - self.started
        print(
            f"faults caught: {caught}/{len(self.chosen)} in {seconds:.0f} s; survived: {', '.join(self.survived) or 0}"
        )
        return True

    def items(self, tests: tuple[str, ...]) -> list:
        """The tests that are named, in this order."""
        found = {}
        for wanted in tests:
            ids = (f"tests/{wanted}::", f"tests/{wanted}[")
            matching = [item for item in self.session.items if f"{item.nodeid}[".startswith(ids)]
            if not matching:
                pytest.exit(f"found no tests {wanted}", 2)
            found.update(dict.fromkeys(matching))
        return list(found)

    def start(self, name: str, tests: tuple[str, ...], fault) -> None:
        items = self.items(tests)
        reader, writer = os.pipe()
        sys.stdout.flush()
        process = os.fork()
        if process:
            os.close(writer)
            self.running[process] = name, fault, reader, time.monotonic()
            return
        signal.alarm(LONGEST)  # what then never ends is killed
        try:
            nothing = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(nothing, stream)
            said = json.dumps(self.run(items, fault))
        except BaseException as error:
            said = json.dumps([None, repr(error)])
        os.write(writer, said.encode())
        os._exit(0)

    def run(self, items: list, fault) -> tuple:
        """(whether a test failed, which), in a fork."""
        if fault:
            plant(*fault)
        os.environ["PYTEST_DEBUG_TEMPROOT"] = tempfile.mkdtemp(dir=self.folder)  # no two forks write the same files
        for item, following in zip(items, [*items[1:], None]):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self.session.testsfailed:
                return True, item.nodeid.partition("::")[2]
        return False, ""

    def wait(self, width: int) -> None:
        """Report on a fork that has ended."""
        process, status = os.wait()
        name, fault, reader, start = self.running.pop(process)
        with open(reader, "rb") as file:
            said = file.read()
        failed, by = json.loads(said) if said else (None, f"the tests ended with {status}")
        if failed is None or (failed and fault is None):
            pytest.exit(f"{name}: {by}", 2)
        if fault:
            self.survived += [] if failed else [name]
            seconds = time.monotonic() - start
            print(f"{'caught  ' if failed else 'SURVIVED'} {seconds:5.1f} s  {name:{width}}  {by}", flush=True)


def main(word: str = "") -> int:
    if misplaced():
        raise SystemExit("update the list of faults:\n" + "\n".join(f"{n}: {why}" for n, why in misplaced().items()))
    chosen = {name: fault for name, fault in FAULTS.items() if word in name or word in fault[0]}
    if not chosen:
        raise SystemExit(f"found no fault with {word!r} in its name or its file")
    os.environ.update(SETTINGS)
    os.environ["PYTHONPATH"] = str(ROOT)  # for tests that start processes
    sys.path.insert(0, str(ROOT))
    sys.dont_write_bytecode = True
    os.chdir(ROOT)
    importlib.import_module("minirep.fast.program")  # and with it Numba: once, before the forks
    files = {f"tests/{test.partition('::')[0]}" for fault in chosen.values() for test in tests_of(fault)}
    with tempfile.TemporaryDirectory() as folder:
        planter = Planter(chosen, folder)
        options = ["-x", "-q", "-s", "--tb=line", "-p", "no:cacheprovider"]
        status = pytest.main([*options, *sorted(files)], [planter])
    return 1 if status or planter.survived else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
