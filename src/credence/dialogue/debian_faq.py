"""Debian's FAQ, in English and Chinese: real questions and answers that a package manager installs, not a download.

The text is free, but stands under its own terms, so credence carries none of it: it is read from the installed Debian
package, or unpacked from it into the user's cache without the rights of an administrator.
"""

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from credence.core.errors import BackendError, ConfigError, nearest
from credence.prior.embedded import cache_folder

SCHEME = "debian-faq"


@dataclass(frozen=True)
class Edition:
    """Where one language's pages are."""

    package: str
    folder: str
    suffix: str


EDITIONS = {
    "en": Edition("debian-faq", "usr/share/doc/debian/FAQ", ".en.html"),
    "zh": Edition("debian-faq-zh-cn", "usr/share/doc/debian/FAQ/zh-cn", ".zh-cn.html"),
}
SYSTEM = Path("/")


def language_of(source: str) -> str:
    """The language of "debian-faq:zh".

    Raises:
        ConfigError: another one.
    """
    code = source.partition(":")[2]
    if code not in EDITIONS:
        known = ", ".join(f"{SCHEME}:{c}" for c in EDITIONS)
        raise ConfigError(
            f"{source!r}: Debian's FAQ is read here in {known}.{nearest(code, EDITIONS)}",
            "faq language",
            source=source,
            known=known,
        )
    return code


def pages(language: str) -> list[Path]:
    """The pages of one language, from the installed package or the user's cache.

    Raises:
        BackendError: in neither; the message holds the command.
    """
    edition = EDITIONS[language]
    for root in (SYSTEM, _cached(edition)):
        found = sorted((root / edition.folder).glob(f"*{edition.suffix}"))
        found = [page for page in found if not page.name.startswith("index.")]  # the title page asks nothing
        if found:
            return found
    raise BackendError(
        f"Debian's FAQ is not here yet. Run: credence knowledge import {SCHEME}:{language}  (on Debian or Ubuntu, no "
        f"administrator needed), or install the package {edition.package}. Elsewhere: unpack it and name its folder.",
        "faq missing",
        language=language,
        package=edition.package,
    )


def fetch(language: str) -> Path:
    """Put one language's pages into the user's cache by apt-get download and dpkg-deb; where they are afterwards.

    Written aside and renamed, so that half an import is never read. Cost: a package of 0.2 to 0.5 MB.

    Raises:
        BackendError: no apt-get or dpkg-deb, or one of them failed; its own last line is quoted.
    """
    edition = EDITIONS[language]
    missing = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    if missing:
        raise BackendError(
            f"{missing[0]} is not here: the import works on Debian, Ubuntu and their kin. Elsewhere: fetch the package "
            f"{edition.package} from packages.debian.org, unpack it, and name the folder {edition.folder} as knowledge."
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
