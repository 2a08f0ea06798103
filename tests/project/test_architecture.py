"""The layout that keeps the method importable alone and the statistics free of torch; see also `lint-imports`."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PACKAGES = ("sba", "baselines", "benchmark")
WITHOUT_TORCH = ("settings", "records", "analysis", "report")


def imports(path: Path) -> Iterator[str]:
    """Yield the top-level and dotted names a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield str(node.module)


@pytest.mark.parametrize("package", ["sba", "baselines"])
def test_methods_import_torch_themselves_and_the_standard_library(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        for name in imports(path):
            top = name.partition(".")[0]
            assert top in {package, "sba", "torch"} | sys.stdlib_module_names, f"{path.name} imports {name}"


def test_every_import_is_a_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    declared = {
        canonicalize_name(Requirement(line).name)
        for line in (*project["dependencies"], *optional["ray"], *optional["tensorboard"])
    }
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    imported = {name.partition(".")[0] for path in files for name in imports(path)}
    distributions = metadata.packages_distributions()
    for name in imported - sys.stdlib_module_names - set(PACKAGES):
        assert declared & set(map(canonicalize_name, distributions.get(name, []))), name


def test_settings_records_statistics_and_report_load_neither_torch_nor_pyplot() -> None:
    """Also where an import is indirect, which `lint-imports` cannot tell from one inside a function."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for package in WITHOUT_TORCH
        for path in (ROOT / "benchmark" / package).rglob("*.py")
    ]
    assert len(modules) > 20
    code = f"import importlib, sys\nfor name in {modules!r}:\n    importlib.import_module(name)\n"
    code += "    assert not {'torch', 'matplotlib.pyplot'} & sys.modules.keys(), name"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_training_loop_names_no_method() -> None:
    text = "".join(
        (ROOT / "benchmark" / f"{name}.py").read_text()
        for name in ("training/loop", "evaluation/evaluate", "execution/worker")
    )
    assert not [word for word in ("mixup", "baselines", "import sba", "from sba", "ERM") if word in text]


def test_functions_stay_short() -> None:
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef) and node.end_lineno:
                    assert node.end_lineno - node.lineno < 60, f"{path.name}: {node.name} is too long"


def test_nothing_calls_the_global_random_generators() -> None:
    forbidden = ("np.random.rand", "np.random.seed", "random.seed(", "random.random(", "eval(", "exec(")
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text(encoding="utf-8").replace(".eval(", "")
            assert not [call for call in forbidden if call in text], path.name


def test_the_readme_has_every_folder_in_its_tree() -> None:
    tree = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Where things are")[2].partition("##")[0]
    packages = {path.parent.name for path in (ROOT / "benchmark").glob("*/__init__.py")}
    assert packages == set(re.findall(r"^      (\w+)/ ", tree, re.MULTILINE))
    named = set(re.findall(r"^    (\w+)/", tree, re.MULTILINE))
    assert not [name for name in named if not (ROOT / name).is_dir()]
    if (ROOT / ".git").exists():  # a user's own folders, as of images, are no part of the project
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
        folders = {path.partition("/")[0] for path in listed.stdout.splitlines() if "/" in path and path[0] != "."}
        assert listed.returncode or folders == named  # git refuses a checkout of another user


def test_no_file_names_a_path_of_somebodys_machine() -> None:
    for package in ("sba", "baselines", "benchmark", "docs", "scripts", "tests", "results"):
        for path in (ROOT / package).rglob("*"):
            if path.suffix in (".py", ".md", ".toml", ".json", ".j2", ".sbatch"):
                found = re.search(r"(?<![\w.:/~-])/(home|root|work|mnt|Users)/(?!somebody)\w+", path.read_text("utf-8"))
                assert found is None, f"{path.relative_to(ROOT)} names {found[0]}"
