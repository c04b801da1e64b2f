"""The wheel, installed outside the checkout, under every supported Python; tox's ``versions`` runs it.

Builds the wheel, looks into it, and for each version installs it with the test extras into an environment of
its own, tries the command, and runs the unit tests from a copy that has neither package beside it, without
those of the tests' own tools and the samples of long campaigns. The running Python's are left to tox's
``tests``, which runs all tests with it. A Python that is missing fails by name, unless it is left out on
purpose: ``tox -e versions -- --without 3.13``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

VERSIONS = ("3.11", "3.12", "3.13")
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
CHECKOUT = Path(__file__).resolve().parents[1]

_IN_WHEEL = (
    "dlpx_remote/py.typed",
    "dlpx/virtualization/common/py.typed",
    "dlpx/virtualization/libs/py.typed",
    "dlpx/virtualization/platform/py.typed",
    "dlpx_remote/_share/examples/postgres/plugin_config.yml",
    "dlpx_remote/_share/examples/postgres/src/postgres/scripts/clusters.sh",
    "dlpx_remote/_share/examples/files/plugin_config.yml",
    "dlpx_remote/_share/containers/ssh/build.py",
    "dlpx_remote/_share/containers/ssh/Dockerfile",
    "dlpx_remote/_share/containers/ssh/files/start",
    "dlpx_remote/_share/containers/nfs-vm/vm.py",
    "dlpx_remote/_share/containers/nfs-vm/build.py",
    "dlpx_remote/_share/containers/nfs-vm/files/start",
    "dlpx_remote/_share/containers/winrm/responder/host.py",
)
_OPTIONS = ("-q", "-p", "no:cacheprovider", "-n", "3", "--dist", "loadgroup", "--assert", "plain")
"""Of each pytest: much of the unit tests is waiting for processes, so that each Python takes three. That
each of these rewrites every assertion, to tell more of one that fails, is left to the running Python's."""
_RUNNING_ONLY = (
    "tests/unit/benchmarks",
    "tests/unit/containers",
    "tests/unit/secret_scan",
    "tests/unit/test_side_by_side.py",
    "tests/unit/jobs/test_kills.py",
    "tests/unit/life/test_bad_results.py",
)
"""Left to the running Python's ``tests``: the tests' own tools, and samples of long campaigns."""
_IGNORED = tuple(f"--ignore={place}" for place in _RUNNING_ONLY)
_NOT_COPIED = {"dlpx_remote", "sdk", "dist", "build"}
"""Of the checkout's first level: the two packages, since the wheel must be what is imported, and products."""


def main() -> int:
    """Run everything; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--without", action="append", default=[], choices=VERSIONS, metavar="VERSION")
    left_out = parser.parse_args().without
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="dlpx-versions-") as directory:
        wheel = _build_wheel(Path(directory))
        failures += [f"the wheel lacks {name}" for name in _lacking(wheel)]
        for version in left_out:
            print(f"Python {version}: left out as asked", flush=True)
        versions = [version for version in VERSIONS if version not in left_out]
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as side_by_side:
            tried = side_by_side.map(
                lambda version: _try(version, wheel, Path(directory) / version), versions
            )
            failures += [
                f"Python {version}: {failure}"
                for version, failure in zip(versions, tried, strict=True)
                if failure
            ]
    for failure in failures:
        print(f"FAILED  {failure}")
    return 1 if failures else 0


def _build_wheel(directory: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(directory), str(CHECKOUT)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return next(directory.glob("*.whl"))


def _lacking(wheel: Path) -> list[str]:
    names = zipfile.ZipFile(wheel).namelist()
    return [name for name in _IN_WHEEL if name not in names]


def _try(version: str, wheel: Path, directory: Path) -> str | None:
    """Why it failed, or None."""
    interpreter = next(_interpreters(version), None)
    if interpreter is None:
        return (
            f"no python{version} runs here (looked on PATH and in pyenv's versions). "
            f"Install it, or leave it out: tox -e versions -- --without {version}"
        )
    directory.mkdir()
    # The pip of this environment serves the other one too: making it a pip of its own takes ten seconds.
    subprocess.run([interpreter, "-m", "venv", "--without-pip", str(directory / "venv")], check=True)
    binaries = directory / "venv" / "bin"
    pip = [sys.executable, "-m", "pip", "--python", str(binaries / "python"), "--quiet", "install"]
    if version == RUNNING:
        subprocess.run([*pip, str(wheel)], check=True)
        failure = _run_command(binaries, directory)
        if failure is None:
            print(f"Python {version}: the wheel works; its unit tests are run by tox -e tests", flush=True)
        return failure
    subprocess.run([*pip, f"{wheel}[test]"], check=True)
    return _run_command(binaries, directory) or _run_unit_tests(version, binaries, directory)


def _run_command(binaries: Path, directory: Path) -> str | None:
    """The console command and an example plugin, from a directory that is no checkout."""
    share = next((binaries.parent / "lib").glob("python*/site-packages/dlpx_remote/_share"), directory)
    for arguments in (["--help"], ["plugin", "check", str(share / "examples" / "postgres")]):
        done = subprocess.run(
            [str(binaries / "dlpx-remote"), *arguments],
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            return f"`dlpx-remote {' '.join(arguments)}` ended with {done.returncode}: {done.stderr[-500:]}"
    return None


def _run_unit_tests(version: str, binaries: Path, directory: Path) -> str | None:
    copy = directory / "checkout"
    shutil.copytree(CHECKOUT, copy, ignore=_not_copied)
    specification = CHECKOUT.parent / "shared"
    if specification.is_dir():
        (directory / "shared").symlink_to(specification)
    done = subprocess.run(
        [str(binaries / "python"), "-m", "pytest", *_OPTIONS, *_IGNORED, "tests/unit"],
        cwd=copy,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        print(done.stdout, flush=True)
        return "unit tests failed"
    print(f"Python {version}: {done.stdout.strip().splitlines()[-1].strip('= ')}", flush=True)
    return None


def _not_copied(folder: str, names: list[str]) -> set[str]:
    left_out = {name for name in names if name.startswith(".") or name == "__pycache__"}
    return left_out | (_NOT_COPIED if Path(folder) == CHECKOUT else set())


def _interpreters(version: str) -> Iterator[str]:
    """Interpreters of this version that really run; a pyenv shim of a version not selected does not."""
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    candidates = [sys.executable]
    candidates += [
        f"{place}/python{version}" for place in os.environ.get("PATH", "").split(os.pathsep) if place
    ]
    candidates += sorted(str(path) for path in pyenv.glob(f"{version}*/bin/python{version}"))
    probe = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    for candidate in candidates:
        if not os.access(candidate, os.X_OK):
            continue
        done = subprocess.run([candidate, "-c", probe], capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip() == version:
            yield candidate


if __name__ == "__main__":
    sys.exit(main())
