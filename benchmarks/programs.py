"""The peers' programs, which come from Debian's packages."""

import os
import shutil

from benchmarks.figures import NotMeasured


def program(name: str, package: str) -> str:
    """The path of a program. Raises NotMeasured, which says what to install."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        raise NotMeasured(f"there is no {name}: apt-get install {package}")
    return found


def as_root(what: str) -> None:
    """Raises NotMeasured where we are not root."""
    if os.geteuid() != 0:
        raise NotMeasured(f"{what} needs root")
