"""Which platforms have a wheel in the lock: ``python tools/wheels.py PYLOCK requirements.lock book/wheels.csv``.

The lock has checksums and no names of files; uv's pylock.toml of the same resolution has both. Every wheel counted here is
one whose checksum stands in the lock. For Python 3.11, the version that the lock is made for.
"""

from __future__ import annotations

import csv
import io
import re
import sys
import tomllib
from pathlib import Path

from packaging.markers import Marker
from packaging.utils import canonicalize_name, parse_wheel_filename

PLATFORMS = {
    "Linux x86-64": ("linux", "Linux", "x86_64", r"(many|musl)linux.*x86_64|linux_x86_64"),
    "Linux ARM": ("linux", "Linux", "aarch64", r"(many)linux.*aarch64|linux_aarch64"),
    "macOS ARM": ("darwin", "Darwin", "arm64", r"macosx_.*_(arm64|universal2)"),
    "macOS Intel": ("darwin", "Darwin", "x86_64", r"macosx_.*_(x86_64|universal2|intel)"),
    "Windows x86-64": ("win32", "Windows", "AMD64", r"win_amd64"),
}
PYTHON = 11


def fits(filename: str, platform: str) -> bool:
    """Whether a wheel can be installed on a platform with CPython 3.11."""
    for tag in parse_wheel_filename(filename)[3]:
        interpreter = re.fullmatch(r"(py|cp)3(\d*)", tag.interpreter)
        if interpreter is None:
            continue
        minor = int(interpreter[2] or 0)
        python = minor <= PYTHON if tag.abi in ("abi3", "none") else minor == PYTHON
        if python and (tag.platform == "any" or re.fullmatch(PLATFORMS[platform][3], tag.platform)):
            return True
    return False


def answer(package: dict, platform: str, locked: set[str]) -> str:
    """'wheel', 'source' (an archive that is built on installation), 'none', or 'not needed'."""
    system, name, machine, _ = PLATFORMS[platform]
    environment = {"sys_platform": system, "platform_system": name, "platform_machine": machine, "os_name": "nt" if system == "win32" else "posix"}
    environment |= {"python_version": f"3.{PYTHON}", "python_full_version": f"3.{PYTHON}.9", "implementation_name": "cpython", "platform_python_implementation": "CPython"}
    if "marker" in package and not Marker(package["marker"]).evaluate(environment):
        return "not needed"
    names = [wheel["url"].rsplit("/", 1)[-1] for wheel in package.get("wheels", []) if wheel["hashes"]["sha256"] in locked]
    if any(fits(each.replace("%2B", "+"), platform) for each in names):
        return "wheel"
    return "source" if package.get("sdist", {}).get("hashes", {}).get("sha256") in locked else "none"


def main(pylock: str, lock: str, out: str) -> None:
    packages = tomllib.loads(Path(pylock).read_text(encoding="utf-8"))["packages"]
    text = Path(lock).read_text(encoding="utf-8")
    locked = set(re.findall(r"sha256:([0-9a-f]{64})", text))
    named = {canonicalize_name(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", text, re.MULTILINE)}
    if named != {canonicalize_name(package["name"]) for package in packages}:
        raise SystemExit(f"{pylock} and {lock} are of two resolutions; make both with 'make lock'")
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(["package", "version", *PLATFORMS])
    for package in packages:
        table.writerow([package["name"], package["version"], *(answer(package, platform, locked) for platform in PLATFORMS)])
    Path(out).write_text(stream.getvalue(), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
