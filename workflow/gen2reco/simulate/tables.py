"""Where Geant4's data come from: the official sets its variables point to, or substitute tables made on first use."""

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from gen2reco.caches import cache_folder
from gen2reco.errors import InfrastructureError, InputError

VARIABLES = {
    "G4LEDATA": "G4EMLOW",
    "G4LEVELGAMMADATA": "PhotonEvaporation",
    "G4PARTICLEXSDATA": "G4PARTICLEXS",
    "G4ENSDFSTATEDATA": "G4ENSDFSTATE",
}
"""Geant4's variables and the folders of the substitute tables that they point to."""
VERSION = 1
"""Raised by hand when the substitute tables change."""
_DIGEST = "digest.txt"


@dataclass(frozen=True)
class Tables:
    """Data directories by Geant4's variable, whether they are the official ones, and the digest of what they hold."""

    folders: dict[str, Path]
    official: bool
    digest: str

    @property
    def label(self) -> str:
        """Name of the physics in outputs and model cards."""
        kind = "the official data" if self.official else "substitute low-energy tables"
        return f"Geant4 11.4 FTFP_BERT with {kind}"

    def export(self) -> None:
        """Set Geant4's variables; call before it is imported, for its import would start downloads otherwise."""
        for variable, folder in self.folders.items():
            os.environ[variable] = str(folder)
        os.environ.setdefault("GEANT4_DATA_DIR", str(next(iter(self.folders.values())).parent))


def find_tables() -> Tables:
    """The official data where all of Geant4's variables are set, else the substitute tables, made if need be.

    Raises InputError if only some variables are set or point nowhere.
    """
    given = {name: Path(os.environ[name]) for name in VARIABLES if os.environ.get(name)}
    substitute = cache_folder() / "geant4" / f"substitute-{VERSION}"
    if not given or given == _folders(substitute):
        return _substitute(substitute)
    for name in VARIABLES:
        if name not in given:
            raise InputError(f"{name} is not set but {next(iter(given))} is; set all of {', '.join(VARIABLES)} or none")
        if not given[name].is_dir():
            raise InputError(f"{name}={given[name]}: no such folder; point it at the official Geant4 data or unset it")
    return Tables(given, True, _listing_digest(given))


def _folders(root: Path) -> dict[str, Path]:
    return {variable: root / folder for variable, folder in VARIABLES.items()}


def _substitute(root: Path) -> Tables:
    if not root.is_dir():
        _make(root)
    return Tables(_folders(root), False, (root / _DIGEST).read_text().strip())


def _make(root: Path) -> None:
    """Write the tables into a temporary folder and rename it: of several processes at once, the first wins."""
    from gen2reco.simulate.lowenergy import write_tables

    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    except OSError as error:
        raise InfrastructureError(f"{root}: cannot be made: {error.strerror}; set GEN2RECO_CACHE") from None
    try:
        write_tables(work)
        (work / _DIGEST).write_text(_content_digest(work) + "\n")
        work.chmod(0o755)
        work.rename(root)
    except OSError as error:
        if not root.is_dir():
            raise InfrastructureError(f"{root}: cannot be written: {error.strerror}; set GEN2RECO_CACHE") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _content_digest(root: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        total.update(str(path.relative_to(root)).encode())
        total.update(path.read_bytes())
    return total.hexdigest()


def _listing_digest(folders: dict[str, Path]) -> str:
    """Names and sizes only: the official sets hold gigabytes."""
    lines = [
        f"{name}/{path.relative_to(folder)} {path.stat().st_size}"
        for name, folder in sorted(folders.items())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
