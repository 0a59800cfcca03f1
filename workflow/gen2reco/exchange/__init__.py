"""Showers as files that other tools read and write: points (ShowerData) and voxels (CaloChallenge)."""
