"""Where the examples and the image's recipe are: in an installed package, or at the root of a checkout."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

_PACKAGE = Path(__file__).resolve().parents[1]


def shared(name: str) -> Path:
    """The directory ``name`` (``examples``, ``containers/ssh``) that is shipped with the package."""
    installed = _PACKAGE / "_share" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


def image_recipe() -> ModuleType:
    """``containers/ssh/build.py`` as a module; it builds the image of the SSH hosts and lets users in."""
    name = "dlpx_remote_demo_image"
    place = shared("containers/ssh") / "build.py"
    specification = importlib.util.spec_from_file_location(name, place)
    if specification is None or specification.loader is None:
        raise ImportError(f"{place} cannot be loaded")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # dataclasses and pickling look a module up by its name
    specification.loader.exec_module(module)
    return module


def windows_hosts() -> ModuleType:
    """``containers/winrm/responder`` as a module; its ``WinRMHost`` answers as a Windows host does."""
    return importlib.import_module(f"{_place()}containers.winrm.responder")


def virtual_machines() -> ModuleType:
    """``containers/nfs-vm/vm.py`` as a module; its ``NfsVm`` is a host with a kernel of its own."""
    # By its own name, since it shares code with its neighbour; the hyphen is in nobody's way here.
    return importlib.import_module(f"{_place()}containers.nfs-vm.vm")


def _place() -> str:
    return "dlpx_remote._share." if (_PACKAGE / "_share").is_dir() else ""
