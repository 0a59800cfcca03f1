"""The networks of each domain, by name, and how a model folder becomes them."""

import torch

from gen2reco.campaign.config import parse_block
from gen2reco.campaign.models import Model
from gen2reco.errors import InputError
from gen2reco.generate.hadronize.dijet_model import DijetHadronizer
from gen2reco.generate.hadronize.model import Architecture, Hadronizer

AnyHadronizer = Hadronizer | DijetHadronizer
NETWORKS: dict[str, type[AnyHadronizer]] = {"quark_pair": Hadronizer, "dijet": DijetHadronizer}


def load(model: Model) -> AnyHadronizer:
    """The networks of an opened model folder. Raises InputError if weights and sizes do not belong together."""
    domain = model.config.get("domain", "quark_pair")
    if domain not in NETWORKS:
        raise InputError(f"{model.folder}: domain {domain!r}, expected one of {', '.join(NETWORKS)}; update gen2reco")
    hadronizer = NETWORKS[domain](parse_block(model.config["architecture"], Architecture, str(model.folder)))
    weights = {name: torch.from_numpy(value).float() for name, value in model.weights().items()}
    try:
        hadronizer.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise InputError(f"{model.folder}: weights do not fit the networks: {reason}; fetch the model anew") from None
    return hadronizer.eval()
