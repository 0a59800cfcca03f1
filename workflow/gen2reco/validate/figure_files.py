"""The figures of a report as files of their own, listed in figures.json with section, part, title and caption."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from gen2reco.errors import InfrastructureError
from gen2reco.files import check_folder, check_output, read_text, whole, write_text
from gen2reco.validate.sections import Picture, Section

FOLDER, LIST = "figures", "figures.json"
_OWN_FILE = re.compile(rf"{FOLDER}/\d+_[a-z0-9_]+\.(svg|png)")


def check_figures(out: Path) -> None:
    """Raises InputError where figures cannot be written into a report's folder, or others' files lie there."""
    check_folder(out / FOLDER)
    check_output(out / LIST, own=("file", "section", "title", "caption"))


def write_figures(out: Path, overview: list[Picture], sections: list[Section]) -> None:
    """Write each figure below `out`/figures, and the list of them in the order of the report as `out`/figures.json.

    Figures that an earlier list names and this one does not are removed.
    """
    rows, earlier = [], _listed(out / LIST)
    try:
        (out / FOLDER).mkdir(exist_ok=True)
    except OSError as error:
        raise InfrastructureError(f"{out / FOLDER}: cannot be made: {error.strerror}") from None
    for number, (section, part, picture) in enumerate(_in_order(overview, sections), start=1):
        words = re.sub(r"[^a-z0-9]+", "_", "_".join((section, part or "", picture.title)).lower()).strip("_")
        name = f"{FOLDER}/{number:02d}_{words}.{picture.image.suffix}"
        with whole(out / name) as temporary:
            temporary.write_bytes(picture.image.content)
        rows.append(
            {"file": name, "section": section, "part": part, "title": picture.title, "caption": picture.caption}
        )
    write_text(out / LIST, json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    for name in earlier - {row["file"] for row in rows}:
        (out / name).unlink(missing_ok=True)


def _in_order(overview: list[Picture], sections: list[Section]) -> Iterator[tuple[str, str | None, Picture]]:
    """Section, part (None of the overview) and picture of each figure."""
    yield from (("overview", None, picture) for picture in overview)
    for section in sections:
        for part in section.parts:
            yield from ((section.record, part.name, picture) for picture in part.pictures)


def _listed(path: Path) -> set[str]:
    """The files that an earlier list names; none where it is no list of figures."""
    rows = json.loads(read_text(path)) if path.is_file() else []
    return {row["file"] for row in rows if _OWN_FILE.fullmatch(str(row["file"]))}
