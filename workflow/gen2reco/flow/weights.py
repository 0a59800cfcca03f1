"""Networks to the weights of a model folder, and back."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from gen2reco.errors import InputError


def halved(network: nn.Module) -> dict[str, np.ndarray]:
    """What a network has learned in half precision, its tables in full, by name."""
    tables = dict(network.named_buffers())
    return {
        name: (value if name in tables else value.half()).cpu().numpy() for name, value in network.state_dict().items()
    }


def fill(network: nn.Module, weights: Mapping[str, np.ndarray], source: str) -> None:
    """Put weights of any precision into a network. Raises InputError, which names the `source`, if they do not fit."""
    try:
        network.load_state_dict({name: torch.from_numpy(value).float() for name, value in weights.items()})
    except (RuntimeError, TypeError) as error:
        reason = (str(error).splitlines()[1:] or [str(error)])[0].strip()
        raise InputError(f"{source}: weights do not fit: {reason[:300]}; fetch it anew") from None
