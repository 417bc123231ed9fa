"""What is noted of where and with what a run is made."""

import subprocess
from types import SimpleNamespace

import pytest

import bench
from bench.sweep import environment

AUTHOR = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]


def git(folder, *arguments):
    command = ["git", *AUTHOR, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A repository with one commit, and below it a copy of the suite that git does not track."""
    monkeypatch.delenv("GIT_DIR", raising=False)
    (tmp_path / "README").write_text("somebody else's")
    (tmp_path / "__init__.py").touch()
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "README", "__init__.py")
    git(tmp_path, "commit", "--quiet", "--message=theirs")
    file = tmp_path / "site-packages" / "bench" / "__init__.py"
    file.parent.mkdir(parents=True)
    file.touch()
    monkeypatch.setattr(environment, "bench", SimpleNamespace(__file__=str(file), __version__=bench.__version__))
    return tmp_path


def test_the_commit_of_a_repository_that_does_not_track_the_suite_is_not_its_commit(elsewhere):
    assert environment._commit() is None


def test_the_commit_is_that_of_the_repository_that_tracks_the_suite(elsewhere):
    git(elsewhere, "add", "site-packages")
    git(elsewhere, "commit", "--quiet", "--message=with the suite")
    assert environment._commit() == git(elsewhere, "rev-parse", "--short=12", "HEAD")
    (elsewhere / "site-packages" / "bench" / "__init__.py").write_text("edited")
    assert environment._commit().endswith("-dirty")


def test_the_repository_of_a_hook_that_starts_the_suite_is_not_its_repository(elsewhere, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(elsewhere / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(elsewhere))
    monkeypatch.setenv("GIT_INDEX_FILE", str(elsewhere / ".git" / "index"))
    assert environment._commit() is None


def test_without_git_there_is_no_commit(elsewhere, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert environment._commit() is None
