"""pyproject.toml, the lock and environment.yml describe one environment."""

import itertools
import re
import tomllib

import pytest
import yaml
from common import ROOT
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DIRECT = [*PROJECT["dependencies"], *itertools.chain(*PROJECT["optional-dependencies"].values())]


def locked() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", LOCK, re.MULTILINE):
        found.setdefault(canonicalize_name(name), set()).add(version)
    return found


@pytest.mark.parametrize("text", DIRECT)
def test_the_lock_has_a_version_that_the_project_allows(text):
    requirement = Requirement(text)
    versions = locked().get(canonicalize_name(requirement.name))
    assert versions, f"{requirement.name} is not in requirements.lock; run `make lock`"
    assert all(requirement.specifier.contains(version) for version in versions), f"{text} against {versions}; run `make lock`"


def test_the_lock_names_every_direct_dependency_as_one():
    """uv writes `# via cxrlib (pyproject.toml)` under each; a requirement that was taken out would still be there."""
    entries = re.split(r"\n(?=\S)", LOCK)
    direct = {canonicalize_name(re.match(r"[A-Za-z0-9._-]+", entry)[0]) for entry in entries if "cxrlib (pyproject.toml)" in entry}
    assert direct == {canonicalize_name(Requirement(text).name) for text in DIRECT}


def test_every_locked_file_has_a_checksum_and_no_host_is_named():
    for entry in re.findall(r"^[A-Za-z0-9._-]+==.*(?:\n[ \t].*)*", LOCK, re.MULTILINE):
        assert "--hash=sha256:" in entry, entry.splitlines()[0]
    assert "://" not in LOCK
    assert "index-url" not in LOCK
    assert "find-links" not in LOCK


def test_conda_installs_the_lock_on_a_python_that_the_project_allows():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *conda, pip = environment["dependencies"]
    assert pip == {"pip": ["--require-hashes", "-r requirements.lock"]}
    (python,) = [text for text in conda if text.startswith("python")]
    allowed, required = SpecifierSet(python.removeprefix("python")), SpecifierSet(PROJECT["requires-python"])
    for minor in range(8, 20):
        assert not allowed.contains(f"3.{minor}") or required.contains(f"3.{minor}")
    assert allowed.contains("3.11")


def test_the_makefile_installs_the_lock_with_checksums():
    assert "--require-hashes -r requirements.lock" in (ROOT / "Makefile").read_text(encoding="utf-8")
