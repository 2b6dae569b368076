"""The source as a whole: which module imports which, what `import minirep` loads, and how long the code is."""

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import mutants
import pytest

import minirep
from minirep import cli

PACKAGE = Path(minirep.__file__).parent
FILES = {path: ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in PACKAGE.rglob("*.py")}
MODULES = {name.removesuffix(".__init__"): path for path, name in FILES.items()}
CORE = ("frontend", "network", "ops", "reparam")


def is_type_checking(node) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def statements(nodes, inside_functions: bool):
    """Yield the import statements under some nodes; those for type checkers alone are left out."""
    for node in nodes:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif is_type_checking(node):
            yield from statements(node.orelse, inside_functions)
        elif inside_functions or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from statements(ast.iter_child_nodes(node), inside_functions)


def imports(module: str, inside_functions: bool = False) -> set[str]:
    """Return the modules of this package that a module imports, by their full names."""
    path, found = MODULES[module], set()
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in statements(ast.parse(path.read_text("utf-8")).body, inside_functions):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        else:
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            base = ".".join(filter(None, (base, node.module)))
            # ``from . import fast`` names a module; ``from .network import Conv`` names something in one.
            targets = [f"{base}.{a.name}" if f"{base}.{a.name}" in MODULES else base for a in node.names]
        found.update(target for target in targets if target.partition(".")[0] == "minirep")
    return found


def test_imports_are_found():
    assert imports("minirep.reparam") >= {"minirep.network"} and "minirep.network" not in imports("minirep.ops")
    assert "minirep.fast" not in imports("minirep.classify")
    assert "minirep.fast" in imports("minirep.classify", inside_functions=True)
    assert {"minirep.cli.timeline", "minirep.files.models"} <= imports("minirep.cli.classify")
    assert "minirep.figures" in imports("minirep.cli.verify") and "minirep.proof.bounds" in imports(
        "minirep.proof.verify"
    )
    assert all(imports(module, True) <= MODULES.keys() for module in MODULES)


@pytest.mark.parametrize("inside_functions", [False, True], ids=["of modules", "inside functions too"])
def test_there_are_no_circles_of_imports(inside_functions):
    graph = {module: imports(module, inside_functions) for module in MODULES}
    try:
        order = list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        pytest.fail(f"a circle of imports: {' <- '.join(error.args[1])}")
    assert order.index("minirep.network") < order.index("minirep.reparam") < order.index("minirep.cli.verify")


def test_commands_do_not_import_each_other():
    commands = {f"minirep.{module}" for module, _ in cli.COMMANDS.values()}
    assert commands <= MODULES.keys()
    for command in commands:
        assert not imports(command, inside_functions=True) & commands, command


def test_nothing_outside_the_command_line_imports_it():
    for module in MODULES.keys() - {"minirep.__main__"}:
        if not f"{module}.".startswith("minirep.cli."):
            assert not any(f"{name}.".startswith("minirep.cli.") for name in imports(module, True)), module


def lines(names) -> int:
    return sum(len((PACKAGE / name).read_text("utf-8").splitlines()) for name in names)


def test_the_core_is_short():
    assert lines(f"{name}.py" for name in CORE) < 700
    # The aim is 9,500: a new feature is to pay for its lines.
    assert lines(path.relative_to(PACKAGE) for path in MODULES.values()) < 12_100


def test_importing_minirep_loads_nothing_heavy():
    """Commands, proofs, pictures and compiled kernels are imported at their first use, and so are all extras."""
    code = (
        "import sys, minirep\n"
        "extras = ('numba', 'llvmlite', 'scipy', 'sklearn', 'soundfile', 'matplotlib', 'torch')\n"
        "own = [f'minirep.{name}' for name in ('cli', 'evaluate', 'fast', 'figures', 'proof')]\n"
        "print(*{*extras, *own} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("\n", "")


def test_every_fault_has_its_place_in_the_source():
    """A change to an expression in which tests/programs/mutants.py plants a fault must be made there, too."""
    assert mutants.misplaced() == {} and all(map(mutants.tests_of, mutants.FAULTS.values()))
    count = len(mutants.FAULTS)
    assert count == sum(map(len, mutants.PLACES.values())) > 350  # no name twice
    assert re.search(rf"planted faults.* {count} of {count} ", (PACKAGE.parent / "README.md").read_text("utf-8"))
