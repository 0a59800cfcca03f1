"""A file of showers of either layout."""

from pathlib import Path

from gen2reco.errors import InputError
from gen2reco.exchange import hdf5
from gen2reco.exchange.point_files import PointFile, is_point_file
from gen2reco.exchange.voxel_binning import Binning
from gen2reco.exchange.voxel_files import VoxelFile, is_voxel_file


def open_showers(path: Path, binning: Binning | None) -> PointFile | VoxelFile:
    """A file of points or of voxels. Raises InputError for what is neither, and for voxels without a binning."""
    with hdf5.opened(path) as file:
        points, voxels = is_point_file(file), is_voxel_file(file)
        held = ", ".join(sorted(file)[:10])
    if points:
        return PointFile(path)
    if not voxels:
        raise InputError(f"{path}: holds {held or 'nothing'}; expected points (ShowerData) or voxels (CaloChallenge)")
    if binning is None:
        raise InputError(f"{path}: voxels need the XML file that says where they are; give it as `binning`")
    return VoxelFile(path, binning)
