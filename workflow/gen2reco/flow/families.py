"""Ways from noise to vectors beside flow matching, on equal terms: the same data, conditions and sizes of networks.

Each is a `Generator`: it draws vectors from noise under conditions, and says what it minimises. The `evaluations` of
its network a draw are a setting of the iterative ones alone.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from gen2reco.flow.networks import VectorNetwork
from gen2reco.flow.objectives import VectorData
from gen2reco.flow.recipes import Training
from gen2reco.flow.splines import Splines
from gen2reco.flow.training import Draw, Objective, Part

SLOWER = 6.0
"""By how much the learning rate of adversaries is lower."""


class Generator(nn.Module):
    """Draws vectors of `dim` numbers from `noise` of them."""

    iterative = False
    """Whether more evaluations make it better."""

    def __init__(self, dim: int, n_context: int, width: int, depth: int):
        super().__init__()
        self.dim, self.noise = dim, dim

    def draw(self, noise: Tensor, condition: Tensor, evaluations: int) -> Tensor:
        """Vectors (n, dim) from standard normal numbers (n, noise) under conditions (n, n_context)."""
        raise NotImplementedError

    def objective(self, data: VectorData) -> Objective:
        """What it minimises on data."""
        raise NotImplementedError

    def others(self, data: VectorData) -> list[Part]:
        """Networks that are trained against it."""
        return []

    def settings(self, training: Training) -> Training:
        """How it is trained, where a recipe says how all are."""
        return training


class Copula(Generator):
    """The noise itself: of whitened normal scores, a Gaussian copula, the floor of every other."""

    def __init__(self, dim: int, n_context: int, width: int, depth: int):
        super().__init__(dim, n_context, width, depth)
        self.none = nn.Parameter(torch.zeros(1))

    def draw(self, noise: Tensor, condition: Tensor, evaluations: int) -> Tensor:
        """The noise."""
        return noise + 0 * self.none

    def objective(self, data: VectorData) -> Objective:
        """Nothing to learn."""
        return lambda draw: (self.none.square().sum(), {"loss": 0.0})


class MeanFlow(Generator):
    """The average velocity between two times, so that one evaluation goes all the way (arXiv:2505.13447).

    On the line from noise (t = 0) to data (t = 1), u(x, t, s) = v + (s - t) du/dt; the derivative along the path is
    that of the network itself, taken as given.
    """

    iterative = True
    APART = 0.5
    """Share of a batch with s > t; the others learn the velocity."""

    def __init__(self, dim: int, n_context: int, width: int, depth: int):
        super().__init__(dim, n_context, width, depth)
        self.network = VectorNetwork(dim, n_context + 2, width, depth)

    def velocity(self, x: Tensor, t: Tensor, s: Tensor, condition: Tensor) -> Tensor:
        """The average velocity from t to s of points x at t."""
        return self.network(x, t, torch.cat([condition, torch.stack([2 * s - 1, torch.cos(torch.pi * s)], 1)], 1))

    def draw(self, noise: Tensor, condition: Tensor, evaluations: int) -> Tensor:
        """As many equal steps as evaluations."""
        x, ones = noise, torch.ones(len(noise), device=noise.device)
        for k in range(evaluations):
            x = x + self.velocity(x, ones * k / evaluations, ones * (k + 1) / evaluations, condition) / evaluations
        return x

    def objective(self, data: VectorData) -> Objective:
        """The squared identity of the average velocity; weights by its size, as for images, would learn medians."""

        def loss_of(draw: Draw) -> tuple[Tensor, dict[str, float]]:
            x_1, condition = data.batch(draw.indices(len(data)), draw.device)
            x_0 = draw.normal(*x_1.shape)
            both = torch.sort(torch.stack([draw.uniform(len(x_1)), draw.uniform(len(x_1))]), 0).values
            t, s = both
            s = torch.where(draw.uniform(len(x_1)) < self.APART, s, t)
            v, x_t = x_1 - x_0, (1 - t)[:, None] * x_0 + t[:, None] * x_1
            with torch.autocast(draw.device.type, enabled=False):
                u, slope = torch.func.jvp(
                    lambda x, start: self.velocity(x, start, s, condition), (x_t, t), (v, torch.ones_like(t))
                )
            loss = (u - (v + (s - t)[:, None] * slope).detach()).square().mean()
            return loss, {"loss": loss.item()}

        return loss_of


class Diffusion(Generator):
    """Denoising diffusion, a cosine schedule and v-prediction (arXiv:2202.00512), drawn by DDIM (arXiv:2010.02502)."""

    iterative = True
    LAST = 0.998
    """The latest time of a draw: at 1 no signal is left."""

    def __init__(self, dim: int, n_context: int, width: int, depth: int):
        super().__init__(dim, n_context, width, depth)
        self.network = VectorNetwork(dim, n_context, width, depth)

    @staticmethod
    def scales(t: Tensor) -> tuple[Tensor, Tensor]:
        """Shares of signal and of noise at times t (n,), as columns."""
        return torch.cos(math.pi / 2 * t)[:, None], torch.sin(math.pi / 2 * t)[:, None]

    def draw(self, noise: Tensor, condition: Tensor, evaluations: int) -> Tensor:
        """As many steps of DDIM as evaluations, without further noise."""
        x, ones = noise, torch.ones(len(noise), device=noise.device)
        for k in range(evaluations):
            now, then = (ones * self.LAST * (1 - (k + step) / evaluations) for step in (0, 1))
            signal, spread = self.scales(now)
            v = self.network(x, now, condition)
            clean, error = signal * x - spread * v, spread * x + signal * v
            signal, spread = self.scales(then)
            x = signal * clean + spread * error
        return x

    def objective(self, data: VectorData) -> Objective:
        """The mean squared error of v = signal noise - spread data."""

        def loss_of(draw: Draw) -> tuple[Tensor, dict[str, float]]:
            x, condition = data.batch(draw.indices(len(data)), draw.device)
            noise, t = draw.normal(*x.shape), draw.uniform(len(x))
            signal, spread = self.scales(t)
            v = self.network(signal * x + spread * noise, t, condition)
            loss = (v - (signal * noise - spread * x)).square().mean()
            return loss, {"loss": loss.item()}

        return loss_of


class Adversarial(Generator):
    """A generator against a critic that compares pairs (relativistic, arXiv:1807.00734), with noise on its inputs."""

    BLUR = 0.2
    """Standard deviation of that noise."""

    def __init__(self, dim: int, n_context: int, width: int, depth: int):
        super().__init__(dim, n_context, width, depth)
        self.network = VectorNetwork(dim, n_context, width, depth)
        self.critic = [_perceptron(dim + n_context, width, 1)]  # in a list: no part of the model

    def draw(self, noise: Tensor, condition: Tensor, evaluations: int) -> Tensor:
        """One evaluation."""
        return noise + self.network(noise, noise.new_zeros(len(noise)), condition)

    def objective(self, data: VectorData) -> Objective:
        """To be taken for data."""
        return self._against(data, lambda real, fake: real - fake, "fooled", self.critic[0])

    def settings(self, training: Training) -> Training:
        """Slower and with less momentum, which two networks against each other need."""
        rate = training.learning_rate / SLOWER
        return training.model_copy(update={"learning_rate": rate, "momentum": 0.5})

    def others(self, data: VectorData) -> list[Part]:
        """The critic."""
        return [Part(self.critic[0], self._against(data, lambda real, fake: fake - real, "critic", self))]

    def _against(self, data: VectorData, sign: Callable, name: str, still: nn.Module) -> Objective:
        critic = self.critic[0]

        def loss_of(draw: Draw) -> tuple[Tensor, dict[str, float]]:
            real, condition = data.batch(draw.indices(len(data)), draw.device)
            still.requires_grad_(False)
            fake = self.draw(draw.normal(*real.shape), condition, 1)
            blurred = (x + self.BLUR * draw.normal(*x.shape) for x in (real, fake))
            scores = [critic(torch.cat([x, condition], 1)) for x in blurred]
            loss = softplus(sign(*scores)).mean()
            still.requires_grad_(True)
            return loss, {name: loss.item()}

        return loss_of


class Variational(Generator):
    """A variational autoencoder (arXiv:1312.6114): a decoder that gives mean and width of each number."""

    LATENT = 32

    def __init__(self, dim: int, n_context: int, width: int, depth: int):
        super().__init__(dim, n_context, width, depth)
        self.noise = self.LATENT + dim
        self.encoder = _perceptron(dim + n_context, width, 2 * self.LATENT)
        self.decoder = _perceptron(self.LATENT + n_context, width, 2 * dim, depth)

    def draw(self, noise: Tensor, condition: Tensor, evaluations: int) -> Tensor:
        """One evaluation of the decoder."""
        mean, log_width = self._decoded(noise[:, : self.LATENT], condition)
        return mean + log_width.exp() * noise[:, self.LATENT :]

    def objective(self, data: VectorData) -> Objective:
        """The negative lower bound of the likelihood, for each number."""

        def loss_of(draw: Draw) -> tuple[Tensor, dict[str, float]]:
            x, condition = data.batch(draw.indices(len(data)), draw.device)
            mean, log_width = self.encoder(torch.cat([x, condition], 1)).float().chunk(2, 1)
            log_width = log_width.clamp(-6, 2)
            latent = mean + log_width.exp() * draw.normal(*mean.shape)
            expected, spread = self._decoded(latent, condition)
            misfit = (0.5 * ((x - expected) / spread.exp()).square() + spread).sum(1)
            divergence = 0.5 * (mean.square() + (2 * log_width).exp() - 1 - 2 * log_width).sum(1)
            loss = (misfit + divergence).mean() / self.dim
            return loss, {"misfit": float(misfit.mean().detach()), "divergence": float(divergence.mean().detach())}

        return loss_of

    def _decoded(self, latent: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_width = self.decoder(torch.cat([latent, condition], 1)).float().chunk(2, 1)
        return mean, log_width.clamp(-4, 1)


class SplineFlow(Generator):
    """A normalising flow of rational-quadratic splines in coupling layers (arXiv:1906.04032), trained by likelihood."""

    def __init__(self, dim: int, n_context: int, width: int, depth: int):
        super().__init__(dim, n_context, width, depth)
        self.layers = nn.ModuleList(Splines(dim, n_context, width, turn) for turn in range(2 * depth))

    def draw(self, noise: Tensor, condition: Tensor, evaluations: int) -> Tensor:
        """One pass through all layers, backwards."""
        x = noise
        for layer in reversed(self.layers):
            x, _ = layer(x, condition, inverse=True)
        return x

    def objective(self, data: VectorData) -> Objective:
        """The negative logarithm of the likelihood, for each number."""

        def loss_of(draw: Draw) -> tuple[Tensor, dict[str, float]]:
            z, condition = data.batch(draw.indices(len(data)), draw.device)
            total = z.new_zeros(len(z))
            for layer in self.layers:
                z, volume = layer(z, condition)
                total = total + volume
            loss = (0.5 * z.square().sum(1) - total).mean() / self.dim
            return loss, {"nll": loss.item()}

        return loss_of


FAMILIES: dict[str, type[Generator]] = {
    "meanflow": MeanFlow,
    "diffusion": Diffusion,
    "gan": Adversarial,
    "vae": Variational,
    "spline": SplineFlow,
    "copula": Copula,
}
"""By the key of a recipe; `flow`, flow matching with its one-step student, stands apart."""


def _perceptron(n_in: int, width: int, n_out: int, depth: int = 2) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(n_in, width), nn.SiLU()]
    for _ in range(depth - 1):
        layers += [nn.Linear(width, width), nn.SiLU()]
    return nn.Sequential(*layers, nn.Linear(width, n_out))
