"""The commands, one module a group; here they are given the registry, by which they find models."""

from gen2reco.campaign.model_pins import use_registry
from gen2reco.track.registry import fetch

use_registry(fetch)
