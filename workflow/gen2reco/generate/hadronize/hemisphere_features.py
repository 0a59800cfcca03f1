"""Features of a drawn event that training compares with data: sums over classes of particles in each hemisphere."""

import torch
from torch import Tensor

_XI = torch.linspace(0.5, 6.0, 8)
_PT = torch.linspace(0.1, 2.0, 6)


def features(momenta: Tensor, classes: Tensor, charge: Tensor, group: Tensor, n_groups: int, sqrt_s: float) -> Tensor:
    """Features of events of two groups each.

    momenta: (n_items, 4), z along the thrust axis, GeV. classes: (n_items, n_classes), whether an item counts in each
    sum. charge: (n_items,). group: (n_items,). Returns (n_groups / 2, n_features).
    """
    p2 = momenta[:, :3].square().sum(1)
    p = (p2 + 1e-8).sqrt()
    pt = (momenta[:, :2].square().sum(1) + 1e-6).sqrt()
    x = 2 * p / sqrt_s
    charged = (charge != 0).to(p.dtype)
    xi = (-(x + 1e-5).log()[:, None] - _XI) / 0.8
    wide = (pt.log1p()[:, None] - _PT) / 0.35
    spectrum, transverse = torch.exp(-0.5 * xi.square()), torch.exp(-0.5 * wide.square())
    columns = [
        classes * x[:, None],
        classes * x[:, None].square(),
        classes * pt[:, None] / 5,
        spectrum * charged[:, None],
        spectrum * (1 - charged)[:, None],
        transverse * charged[:, None],
        transverse * (1 - charged)[:, None],
        torch.stack([charge * x.sqrt(), momenta[:, 0].square() / p, momenta[:, 1].square() / p, p], 1) / 5,
        torch.stack([momenta[:, 0] * pt, momenta[:, 1] * pt, momenta[:, 0], momenta[:, 1]], 1) / 10,
    ]
    values = torch.cat(columns, 1)
    sums = values.new_zeros(n_groups, values.shape[1]).index_add(0, group, values)
    return torch.cat([sums.view(n_groups // 2, -1), _c_parameter(momenta, p, group // 2, n_groups // 2)[:, None]], 1)


def _c_parameter(momenta: Tensor, p: Tensor, event: Tensor, n: int) -> Tensor:
    """C-parameter of the linear momentum tensor: 3/2 (1 - tr Theta^2)."""
    outer = (momenta[:, :3, None] * momenta[:, None, :3] / p[:, None, None]).flatten(1)
    tensor = outer.new_zeros(n, 9).index_add(0, event, outer)
    total = p.new_zeros(n).index_add(0, event, p)
    return 1.5 * (1 - (tensor / total[:, None]).square().sum(1))
