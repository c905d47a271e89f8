"""An MLP in torch on views of one flat tensor, with its backward pass written out. Runs in the learner only."""

import torch
from torch import Tensor

from raymon.ppo.policy import Activation, ModelSpec


class Mlp:
    """One network: weights and gradients are views of the learner's flat tensors; buffers are kept between calls."""

    def __init__(self, spec: ModelSpec, network: str, flat: Tensor, gradient: Tensor) -> None:
        self._activation: Activation = spec.activation
        self._sizes = spec.hidden
        self._layers = []
        layout = spec.layout()
        for index in range(len(spec.hidden) + 1):
            pair = []
            for part in ("weight", "bias"):
                offset, shape = layout[f"{network}.{index}.{part}"]
                count = shape[0] * shape[1] if part == "weight" else shape[0]
                pair += [tensor[offset : offset + count].view(shape) for tensor in (flat, gradient)]
            self._layers.append(tuple(pair))
        self._buffers: dict[int, tuple[list[Tensor], list[Tensor]]] = {}
        self._inputs: list[Tensor] = []

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs `[B, H]` for inputs `[B, D]`; what `backward` needs is kept."""
        rows = len(inputs)
        if rows not in self._buffers:
            sizes = [(rows, size) for size in self._sizes]
            self._buffers[rows] = ([inputs.new_empty(s) for s in sizes], [inputs.new_empty(s) for s in sizes])
        self._inputs = [inputs]
        for (weight, _, bias, _), buffer in zip(self._layers[:-1], self._buffers[rows][0], strict=True):
            torch.addmm(bias, self._inputs[-1], weight, out=buffer)
            buffer.tanh_() if self._activation == "tanh" else buffer.relu_()
            self._inputs.append(buffer)
        weight, _, bias, _ = self._layers[-1]
        return torch.addmm(bias, self._inputs[-1], weight)

    def backward(self, slope: Tensor) -> None:
        """Write the weights' gradients for the loss's derivative by the outputs, `[B, H]`."""
        slopes = self._buffers[len(slope)][1]
        for index in range(len(self._layers) - 1, -1, -1):
            weight, weight_gradient, _, bias_gradient = self._layers[index]
            inputs = self._inputs[index]
            torch.mm(inputs.t(), slope, out=weight_gradient)
            torch.sum(slope, 0, out=bias_gradient)
            if index:
                torch.mm(slope, weight.t(), out=slopes[index - 1])
                slope = self._through(slopes[index - 1], inputs)

    def _through(self, slope: Tensor, output: Tensor) -> Tensor:
        if self._activation == "tanh":
            torch.ops.aten.tanh_backward.grad_input(slope, output, grad_input=slope)
            return slope
        return slope.mul_(output > 0)
