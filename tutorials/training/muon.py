"""Muon: momentum whose direction is made orthogonal, for weights that are matrices. And two optimisers as one.

Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024. PyTorch's own takes parameters of two
axes only and works in bfloat16, which processors without instructions for it do very slowly.
"""

import torch

QUINTIC = (3.4445, -4.7750, 2.0315)  # coefficients of the paper's iteration: quick rather than exact


def orthogonal(x, rounds=5):
    """A matrix with nearly the singular vectors of x (m, n), and singular values between about 0.7 and 1.2.

    Each round applies an odd polynomial to all singular values at once, because X X' X has the cubes of those of X.
    """
    if x.shape[0] > x.shape[1]:
        return orthogonal(x.T, rounds).T
    a, b, c = QUINTIC
    x = x / (x.norm() + 1e-7)
    for _ in range(rounds):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x


class Muon(torch.optim.Optimizer):
    """For weights (outputs, inputs, ...): of each step, all directions count alike, however small their gradients."""

    def __init__(self, params, lr=0.02, momentum=0.95):
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                state, gradient = self.state[p], p.grad.flatten(1)
                mean = state.setdefault("mean", torch.zeros_like(gradient))
                mean.lerp_(gradient, 1 - group["momentum"])
                step = orthogonal(gradient.lerp(mean, group["momentum"]))  # Nesterov: the mean, as it will be
                tall = max(1, step.shape[0] / step.shape[1]) ** 0.5
                p.sub_((group["lr"] * tall * step).view_as(p))


class Together:
    """Optimisers for different parameters of one network, used as one."""

    def __init__(self, *parts):
        self.parts = parts

    @property
    def param_groups(self):
        return [group for part in self.parts for group in part.param_groups]

    def zero_grad(self):
        for part in self.parts:
            part.zero_grad()

    def step(self):
        for part in self.parts:
            part.step()

    def state_dict(self):
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state):
        for part, its in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(its)
