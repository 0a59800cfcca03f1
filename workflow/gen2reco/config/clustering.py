"""Settings of the clustering of hits to tracksters: layer clusters, iterations, linking. The defaults are HGCAL's."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from gen2reco.config.block import Block, Name

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class LayerClustering(Block):
    """CLUE in x and y on each layer of each endcap."""

    density_radius: PositiveFloat = 15.0
    """Radius within which hits add to a hit's density, mm."""
    min_density: NonNegativeFloat = 7.0
    """Smallest density of a seed, in standard deviations of the layer's noise."""
    outlier_factor: PositiveFloat = 2.0
    """Search distance of hits below that density, in density radii."""
    log_weight: PositiveFloat = 2.9
    """Positions weigh hits with max(0, this + ln(energy / energy of the layer cluster))."""
    position_radius: PositiveFloat = 15.0
    """Only hits this near to the most energetic one count for the position, mm."""


class Iteration(Block):
    """One pass of CLUE3D over the layer clusters that earlier passes left."""

    name: Name
    """Name of the iteration."""
    seeding: Literal["global", "tracks"] = "global"
    """`global`: everywhere; `tracks`: only along extrapolated tracks, one trackster a track."""
    last_layer: PositiveInt | None = None
    """Layer clusters behind this layer do not take part; none for all layers."""
    max_cluster_size: PositiveInt | None = None
    """Layer clusters of more hits do not take part; none for all sizes."""
    density_radius: PositiveFloat = 18.0
    """Transverse radius, along lines from the origin, within which layer clusters add to the density, mm."""
    sibling_layers: PositiveInt = 5
    """How many layers away neighbours are looked for."""
    kernel: NonNegativeFloat = 0.2
    """Weight of the neighbours' energy in the density."""
    min_density: NonNegativeFloat = 0.6
    """Smallest density of a seed, GeV."""
    min_self_density: Fraction = 0.15
    """Smallest share of its own energy in a seed's density."""
    seed_distance: PositiveFloat = 40.0
    """A seed has no higher layer cluster within this transverse distance, mm, ..."""
    seed_layers: PositiveInt = 5
    """... and this many layers."""
    outlier_factor: PositiveFloat = 2.0
    """How much farther than that a follower may be from its nearest higher layer cluster."""
    track_distance: PositiveFloat = 30.0
    """With `tracks`: largest transverse distance from the track, mm."""
    min_layer_clusters: PositiveInt = 3
    """Tracksters of fewer layer clusters are given up; theirs go to the next iteration."""
    min_energy: NonNegativeFloat = 0.0
    """Tracksters of less energy are given up, GeV."""
    min_em_fraction: Fraction = 0.0
    """Tracksters with a smaller share of their energy in electromagnetic layers are given up."""
    max_width: PositiveFloat | None = None
    """Tracksters of a larger transverse energy-weighted width are given up, mm; none for any width."""


class Linking(Block):
    """Which fragments are joined; distances are transverse, from the leader's axis or its line from the origin."""

    close_distance: NonNegativeFloat = 55.0
    """First step: a fragment this near to a more energetic one is a part of it, mm."""
    em_fraction: Fraction = 0.95
    """A fragment is electromagnetic with at least this share of its energy in electromagnetic layers, ..."""
    em_width: PositiveFloat = 30.0
    """... and at most this transverse energy-weighted width, mm."""
    photon_layer: PositiveInt = 2
    """An electromagnetic fragment that starts up to this layer, no track pointing at it, may be a photon of its own."""
    photon_fraction: Fraction = 0.2
    """It is taken as one with at least this share of the leader's energy, ..."""
    photon_distance: NonNegativeFloat = 30.0
    """... and then it is joined only within this distance, mm."""
    em_distance: NonNegativeFloat = 100.0
    """Second step: reach for electromagnetic fragments (superclustering), mm."""
    had_distance: NonNegativeFloat = 130.0
    """Reach for other fragments, mm."""
    late_layer: PositiveInt = 10
    """A fragment that starts behind this layer, with no track pointing at it, is late: it did not enter by itself."""
    late_distance: NonNegativeFloat = 260.0
    """Reach for late fragments, mm."""
    halo_fraction: Fraction = 0.03
    """Share of the leader's energy below which any fragment without a track is its halo, late or not."""
    halo_distance: NonNegativeFloat = 225.0
    """Reach for the halo, mm."""
    track_distance: NonNegativeFloat = 15.0
    """A track points at a fragment that it passes within this distance of the barycentre, mm."""
    attach_distance: NonNegativeFloat = 350.0
    """Layer clusters that no iteration claimed join the nearest trackster within this distance, mm."""
    em_reach: NonNegativeFloat = 90.0
    """Late fragments and unclaimed layer clusters join an electromagnetic trackster only within this distance, mm."""
    min_energy: NonNegativeFloat = 0.5
    """Tracksters of less energy are dropped after linking, GeV, unless a track points at them."""


class Clustering(Block):
    """The whole clustering; its digest is part of what a calibration is pinned to."""

    name: Name = "hgcal"
    """Name of the clustering."""
    layers: LayerClustering = LayerClustering()
    """Layer clusters."""
    iterations: list[Iteration] = Field(
        default=[
            Iteration(
                name="em",
                last_layer=26,
                density_radius=21.0,
                kernel=0.4,
                min_density=0.53,
                seed_distance=25.0,
                min_em_fraction=0.9,
                max_width=30.0,
            ),
            Iteration(name="hadronic", density_radius=20.0, kernel=0.125, min_density=0.3, seed_distance=31.0),
            Iteration(name="track", seeding="tracks"),
            Iteration(
                name="mip",
                max_cluster_size=2,
                density_radius=17.0,
                kernel=0.19,
                min_density=0.012,
                min_self_density=0.0,
                seed_distance=24.0,
            ),
        ],
        min_length=1,
    )
    """The passes in order; each claims its layer clusters and hands the rest on."""
    linking: Linking = Linking()
    """Joining of fragments."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [iteration.name for iteration in self.iterations]
        if len(set(names)) < len(names):
            raise ValueError(f"two iterations share a name: {', '.join(names)}")
        if len(names) > 127:
            raise ValueError(f"{len(names)} iterations, expected at most 127")
        return self
