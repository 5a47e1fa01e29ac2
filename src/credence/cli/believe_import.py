"""`credence believe import`: texts that packages carry, taken out of them into the user's cache, once."""

from typing import Annotated

import typer

from credence.cli.options import Json


def import_(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="vader:movies, :products, :news or :tweets; or debian-reference."),
    ],
    as_json: Json = False,
) -> None:
    """Take VADER's rated sentences (pip download) or Debian's manual in two languages (apt-get), once."""
    from credence.study.debian_reference import SOURCE

    if source == SOURCE:
        _reference(as_json)
    else:
        _vader(source, as_json)


def _vader(source: str, as_json: bool) -> None:
    from credence.cli.terminal import emit, out, progress, say, shown
    from credence.study.packaged import fetch, read_packaged

    with progress(f"fetching {source}", None, as_json):
        place = fetch(source)
    found = read_packaged(source)
    if as_json:
        emit({"source": source, "file": str(place), "texts": len(found), "remarks": list(found.remarks)})
        return
    for remark in found.remarks:
        say(out(), shown(remark))
    say(out(), shown(f"{len(found):,} labelled texts in {place}"))


def _reference(as_json: bool) -> None:
    from credence.cli.terminal import emit, out, progress, say, shown
    from credence.study.debian_reference import SOURCE, fetch, is_here, read_reference

    with progress(f"fetching {SOURCE}", None, as_json):
        places = [] if is_here() else fetch()
        pairs, remarks = read_reference()
    if as_json:
        emit({"source": SOURCE, "folders": [str(p) for p in places], "pairs": len(pairs), "remarks": remarks})
        return
    for remark in remarks:
        say(out(), shown(remark))
    where = ", ".join(map(str, places)) or "the installed packages"
    say(out(), shown(f"{len(pairs):,} aligned blocks in {where}"))
