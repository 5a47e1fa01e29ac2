"""Pages that a Debian package carries: read where it is installed, or unpacked into the user's cache without rights.

credence carries none of them: they are free, but stand under their own terms.
"""

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from credence.core.errors import BackendError
from credence.prior.embedded import cache_folder

SYSTEM = Path("/")


@dataclass(frozen=True)
class Edition:
    """Where one language's pages are."""

    package: str
    folder: str
    suffix: str


def edition_pages(edition: Edition, system: Path = SYSTEM) -> list[Path]:
    """The pages by name, their title page left out; none where the package is neither installed nor unpacked."""
    for root in (system, _cached(edition)):
        found = sorted((root / edition.folder).glob(f"*{edition.suffix}"))
        found = [page for page in found if not page.name.startswith("index.")]
        if found:
            return found
    return []


def unpack(edition: Edition) -> Path:
    """Put the pages into the user's cache by apt-get download and dpkg-deb; where they are afterwards.

    Written aside and renamed, so that half an import is never read. Cost: one package.

    Raises:
        BackendError: no apt-get or dpkg-deb, or one of them failed; its own last line is quoted.
    """
    missing = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    if missing:
        raise BackendError(
            f"{missing[0]} is not here: the import works on Debian, Ubuntu and their kin. Elsewhere: fetch the package "
            f"{edition.package} from packages.debian.org and unpack it into {_cached(edition)}."
        )
    place = _cached(edition)
    place.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix="unpacking-", dir=place.parent))
    try:
        _call(["apt-get", "download", edition.package], aside, edition)
        packages = list(aside.glob("*.deb"))
        if not packages:
            raise BackendError(f"apt-get fetched no package {edition.package}. Try: apt-get update")
        _call(["dpkg-deb", "-x", packages[0].name, "unpacked"], aside, edition)
        if not list((aside / "unpacked" / edition.folder).glob(f"*{edition.suffix}")):
            raise BackendError(
                f"{packages[0].name} holds no page *{edition.suffix}: another edition than is known here."
            )
        if place.exists():
            shutil.rmtree(place)
        (aside / "unpacked").rename(place)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return place / edition.folder


def _call(command: list[str], folder: Path, edition: Edition) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        raise BackendError(f"{' '.join(command)} did not finish within 120 s. Is there a network?") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise BackendError(
            f"{' '.join(command)} failed: {last} Try: apt-get update, or install the package {edition.package}."
        )


def _cached(edition: Edition) -> Path:
    return cache_folder() / edition.package
