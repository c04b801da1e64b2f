"""A plugin's own copy in the engine's state, so that what was added does not change under a running job."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dlpx_remote.errors import AlreadyExists, InvalidRequest, RemoteError
from dlpx_remote.plugins.plugin import Plugin, load_plugin

_LEFT_OUT = frozenset({".git", ".hg", ".svn", ".tox", ".venv", ".mypy_cache", ".pytest_cache", ".ruff_cache"})
_UNFINISHED = ".new-"
_MADE_BY_TOOLS = frozenset({"__pycache__"})


class NotInstalled(RemoteError):
    """A plugin could not be copied into the engine's state."""


def install(plugin: Plugin, directory: Path) -> Plugin:
    """Copy ``plugin`` below ``directory``, and return it as it is there.

    The copy appears whole or not at all, also when the machine loses power. What is there already with the
    same content is left alone. Version control, caches and generated classes are left out.

    Args:
        plugin: a plugin that was loaded.
        directory: where the engine keeps plugins; made when missing.

    Raises:
        AlreadyExists: this build is there with other content.
        InvalidRequest: the plugin has a symbolic link that leads out of it, or something that is no file.
        NotInstalled: it cannot be read or written.
        PluginInvalid: it changed on disk since it was loaded, and is not good any more.
    """
    target = directory / f"{plugin.config.id.lower()}-{plugin.config.build_number}"
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not target.exists():
            _copy(plugin, target)
        if _fingerprint(plugin.directory, plugin) != _fingerprint(target, plugin):
            raise AlreadyExists(
                f"Build {plugin.config.build_number} of the plugin {plugin.config.name} is there already, "
                "with other content.",
                "Raise `buildNumber` in plugin_config.yml and add it again.",
            )
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        raise NotInstalled(
            f"The plugin {plugin.config.name} could not be copied to {directory}: "
            f"{error.strerror or error}{place}.",
            "Check permissions and free space.",
        ) from error
    return load_plugin(target)


def _copy(plugin: Plugin, target: Path) -> None:
    with _work_directory(target.parent) as work:
        for path in plugin_files(plugin.directory, plugin):
            copy = work / path.relative_to(plugin.directory)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
            copy.chmod(0o700 if path.stat().st_mode & stat.S_IXUSR else 0o600)
            _flush(copy)
        source = work / plugin.config.source_directory.relative_to(plugin.directory)
        source.mkdir(parents=True, exist_ok=True)
        for copied, _, _ in os.walk(work, topdown=False):
            Path(copied).chmod(0o700)
            _flush(Path(copied))
        try:
            work.rename(target)
        except OSError:
            # Another process was first; what it put there is compared by the caller.
            if not target.exists():
                raise
        _flush(target.parent)


@contextlib.contextmanager
def _work_directory(parent: Path) -> Iterator[Path]:
    """A new directory that is gone at the end; what killed processes have left of theirs is removed first.

    Who copies holds a lock on its directory, which ends with the process however that ends.
    """
    with contextlib.ExitStack() as held:
        with _locked(parent):
            for left in parent.glob(f"{_UNFINISHED}*"):
                with contextlib.suppress(BlockingIOError, FileNotFoundError), _locked(left, wait=False):
                    shutil.rmtree(left, ignore_errors=True)
            work = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=parent))
            held.callback(shutil.rmtree, work, ignore_errors=True)
            held.enter_context(_locked(work))
        yield work


@contextlib.contextmanager
def _locked(directory: Path, *, wait: bool = True) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def plugin_files(root: Path, plugin: Plugin) -> Iterator[Path]:
    """The files of a plugin in a fixed order; links within it are followed, links out of it refused."""
    yield from _below(root, root, plugin, frozenset())


def _below(directory: Path, root: Path, plugin: Plugin, inside: frozenset[Path]) -> Iterator[Path]:
    generated = plugin.config.source_directory.relative_to(plugin.directory) / "generated"
    real = directory.resolve()
    if real in inside:
        raise InvalidRequest(
            f"The symbolic link {directory} leads back to a directory that it lies in.", "Remove it."
        )
    for path in sorted(directory.iterdir()):
        if path.name in _LEFT_OUT | _MADE_BY_TOOLS or path.relative_to(root) == generated:
            continue
        if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
            raise InvalidRequest(
                f"The symbolic link {path} leads out of the plugin's directory, to {path.resolve()}.",
                "Put a copy in its place.",
            )
        if path.is_dir():
            yield from _below(path, root, plugin, inside | {real})
        elif path.is_file():
            if path.suffix not in (".pyc", ".pyo"):
                yield path
        else:
            kind = "a symbolic link to nothing" if path.is_symlink() else "neither a file nor a directory"
            raise InvalidRequest(f"{path} is {kind}, which cannot be part of a plugin.", "Remove it.")


def _fingerprint(root: Path, plugin: Plugin) -> str:
    """The same for two directories when a plugin made of them would be the same."""
    whole = hashlib.sha256()
    for path in plugin_files(root, plugin):
        name = str(path.relative_to(root)).encode("utf-8", "surrogateescape")
        content = hashlib.sha256()
        with path.open("rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                content.update(block)
        whole.update(b"%d:%s%s" % (len(name), name, content.digest()))
    return whole.hexdigest()
