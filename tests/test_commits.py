"""The step that imports every commit sees one that cannot be imported, and needs no history."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

AUTHOR = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Three commits: the middle one imports a name that is not there."""
    package = tmp_path / "bench"
    package.mkdir()
    git(tmp_path, "init", "--quiet")
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text("raise SystemExit(3)\n")
    (package / "extra.py").write_text("import a_package_that_is_not_installed\n")
    for number, line in enumerate(("x = 1", "from bench import gone", "x = 2")):
        (package / "report.py").write_text(f"{line}\n")
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "--quiet", f"--message={number}")
    return tmp_path


def git(folder: Path, *arguments: str) -> str:
    command = ["git", *AUTHOR, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def looked(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What the step says in a folder; without what it imports only to be quick."""
    code = f"import runpy, sys; sys.exit(runpy.run_path({str(ROOT / '.ci' / 'commits.py')!r})['main'](sys.argv[1:]))"
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_commit_that_cannot_be_imported_is_named_with_its_reason(repository):
    answer = looked(repository)
    broken = git(repository, "rev-parse", "HEAD~1")[:12]
    assert answer.returncode == 1
    assert answer.stderr.startswith(
        f"{broken} cannot be imported: bench.report: ImportError: cannot import name 'gone'"
    )
    assert answer.stdout == "2 of 3 commits can be imported\n"


def test_only_what_origin_has_not_is_looked_at(repository):
    git(repository, "update-ref", "refs/remotes/origin/main", "HEAD~1")
    answer = looked(repository)
    assert (answer.returncode, answer.stdout) == (0, "1 of 1 commits can be imported\n")
    assert looked(repository, "HEAD~2..HEAD").returncode == 1


def test_without_history_there_is_nothing_to_look_at(repository, tmp_path_factory):
    assert looked(tmp_path_factory.mktemp("empty")).returncode == 0
    shallow = tmp_path_factory.mktemp("shallow") / "clone"
    git(repository, "clone", "--quiet", "--depth=1", f"file://{repository}", str(shallow))
    git(shallow, "update-ref", "-d", "refs/remotes/origin/HEAD")
    assert looked(shallow).returncode == 0
