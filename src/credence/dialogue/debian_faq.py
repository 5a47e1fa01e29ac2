"""Debian's FAQ, in English and Chinese: real questions and answers that a package manager installs, not a download.

The text is free, but stands under its own terms, so credence carries none of it: it is read from the installed Debian
package, or unpacked from it into the user's cache without the rights of an administrator.
"""

from pathlib import Path

from credence.core.errors import BackendError, ConfigError, nearest
from credence.dialogue.debian_package import SYSTEM, Edition, edition_pages, unpack

SCHEME = "debian-faq"
EDITIONS = {
    "en": Edition("debian-faq", "usr/share/doc/debian/FAQ", ".en.html"),
    "zh": Edition("debian-faq-zh-cn", "usr/share/doc/debian/FAQ/zh-cn", ".zh-cn.html"),
}


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
    found = edition_pages(edition, SYSTEM)  # the title page, which asks nothing, is not among them
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

    Cost: a package of 0.2 to 0.5 MB.

    Raises:
        BackendError: as debian_package.unpack.
    """
    return unpack(EDITIONS[language])
