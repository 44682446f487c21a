"""The command line without a broker: finding the app, and saying what is wrong in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent.parent

MODULES = {
    "good.py": "import faustc\napp = faustc.App('good')\nother = faustc.App('other')\nnumber = 3\n",
    "broken.py": "import faustc\n\napp = faustc.App('x', bogus=1)\n",
    "typo.py": "import nothing_like_this\n",
    "pkg/__init__.py": "",
    "pkg/main.py": "import faustc\napp = faustc.App('packaged')\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in MODULES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "faustc", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing", "there is no module 'missing' here"),
        ("missing.app", "there is no module 'missing' here"),
        ("good:nothing", "good has no 'nothing'"),
        ("good:aap", "did you mean 'app'?"),
        ("good:number", "good:number is no App"),
        ("broken", "there is no setting 'bogus'"),
        ("broken", "broken.py:3"),
        ("typo", "No module named 'nothing_like_this'"),
        ("good-", "is not the path of a module"),
    ],
)
def test_a_bad_app_is_one_line_and_exit_code_2(folder: Path, path: str, message: str) -> None:
    done = run(folder, "-A", path, "worker")
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_no_app_is_one_line_and_exit_code_2(folder: Path) -> None:
    done = run(folder, "worker")
    assert done.returncode == 2
    assert done.stderr.strip() == "faustc: no app: name one with -A, as in -A proj.app"


@pytest.mark.parametrize(
    ("path", "id"),
    [
        ("good", "good"),
        ("good:app", "good"),
        ("good.other", "other"),
        ("good:other", "other"),
        ("pkg.main", "packaged"),
        ("pkg.main:app", "packaged"),
        ("pkg.main.app", "packaged"),
    ],
)
def test_an_app_is_found_by_every_kind_of_path(
    folder: Path, path: str, id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from faustc.cli.base import find_app

    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    for name in ("good", "pkg", "pkg.main"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    app = find_app(path)
    assert app.conf.id == id
    assert app.conf.origin == path.partition(":")[0].removesuffix(".app").removesuffix(".other")


def test_version_and_help_need_no_app(folder: Path) -> None:
    assert run(folder, "--version").stdout == "faustc 0.1.0\n"
    helped = run(folder, "--help")
    assert helped.returncode == 0
    assert "worker" in helped.stdout
    assert "--loglevel" in run(folder, "-A", "good", "worker", "--help").stdout


def test_workdir_and_an_unknown_command(folder: Path) -> None:
    done = run(folder.parent, "-W", str(folder), "-A", "good", "nonsense")
    assert done.returncode == 2
    assert "No such command 'nonsense'" in done.stderr
    done = run(folder, "-W", str(folder / "absent"), "worker")
    assert done.returncode == 2
    assert "absent" in done.stderr


def test_python_script_worker_by_app_main(folder: Path) -> None:
    (folder / "script.py").write_text(
        "import faustc\napp = faustc.App('s')\n"
        "@app.command()\nasync def hello():\n    '''Say it.'''\n"
        "    print('hello', app.conf.origin)\n"
        "if __name__ == '__main__':\n    app.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "script.py", "hello"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stdout) == (0, "hello script\n")
