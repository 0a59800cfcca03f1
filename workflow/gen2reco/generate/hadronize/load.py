"""The networks of each domain, by name, and how a model folder becomes them."""

from typing import Self

from pydantic import model_validator

from gen2reco.errors import InputError
from gen2reco.flow.weights import fill
from gen2reco.generate.hadronize.dijet_model import DijetHadronizer
from gen2reco.generate.hadronize.generation_recipe import Domain
from gen2reco.generate.hadronize.minbias_model import MinbiasHadronizer
from gen2reco.generate.hadronize.pair_model import Architecture, Hadronizer
from gen2reco.run.evaluations import evaluation
from gen2reco.run.model_folder import EVALUATION, Bounds, Model, ModelConfig

TOLD_APART = 0.65
"""Area of a classifier of whole events above which a model is experimental."""
AnyHadronizer = Hadronizer | DijetHadronizer
NETWORKS: dict[str, type[AnyHadronizer]] = {
    "quark_pair": Hadronizer,
    "dijet": DijetHadronizer,
    "minimum_bias": MinbiasHadronizer,
}


class GenerationRange(ModelConfig):
    """Where a model is valid; energies in GeV. Those of partons are a dijet model's."""

    alpha_s: Bounds
    """Strong coupling of final-state showers at the Z mass."""
    sqrt_s: Bounds
    """Mass of the two hard partons, or energy of the two beams."""
    pt0_ref: Bounds | None = None
    """pT0Ref of multiparton interactions, GeV; a model of hadron collisions without it knows no such interactions."""
    parton_pt: Bounds | None = None
    """Transverse momenta of the outgoing hard partons."""
    parton_abs_y: Bounds | None = None
    """Their |rapidity|."""
    endcap_abs_eta: Bounds = (0.0, 20.0)
    """|eta| of one of them at least."""


class GenerationConfig(ModelConfig):
    """The config of a learned generator."""

    domain: Domain = "quark_pair"
    architecture: Architecture
    range: GenerationRange
    experimental: str = ""
    """Why the model is no more than experimental, as long as it is not judged; empty: it is."""

    @model_validator(mode="after")
    def _of_the_domain(self) -> Self:
        if self.domain == "minimum_bias" and self.range.pt0_ref is None:
            raise ValueError("`range` lacks `pt0_ref`, which a model of minimum bias has")
        if self.domain == "dijet" and None in (self.range.parton_pt, self.range.parton_abs_y):
            raise ValueError("`range` lacks `parton_pt` or `parton_abs_y`, which a model of dijets has")
        return self


def experimental(model: Model, config: GenerationConfig) -> str:
    """Why a model is no more than experimental: nobody judged it, or its events are told from the reference's with an
    area above TOLD_APART; empty where it is more. Raises InputError for a damaged evaluation."""
    if not (model.folder / EVALUATION).is_file():
        return config.experimental
    told = evaluation(model.folder)["metrics"].get("events/auc_event")
    if told and told["value"] > TOLD_APART:
        return f"held-out events are told from the reference's, AUC {told['value']:.2f} of {told['n']}"
    return ""


def load(model: Model) -> AnyHadronizer:
    """The networks of an opened model folder. Raises InputError if weights and sizes do not belong together."""
    config = model.parsed(GenerationConfig)
    try:
        hadronizer = NETWORKS[config.domain](config.architecture)
    except (ValueError, IndexError, KeyError, RuntimeError) as error:
        raise InputError(
            f"{model.folder}: `architecture` makes no network of domain `{config.domain}`: {error}; fetch it anew"
        ) from None
    fill(hadronizer, model.weights(), str(model.folder))
    return hadronizer.eval()
