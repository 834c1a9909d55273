"""An exponential moving average of the weights."""

import contextlib
from collections.abc import Iterator

import mindspore as ms
from mindspore import nn, ops


def _move(share: float, average: ms.Parameter, weight: ms.Parameter) -> ms.Tensor:
    """Move an average by a share of its distance towards the weight."""
    return ops.assign(average, ops.lerp(average, weight, share))


class ExponentialMovingAverage(nn.Cell):
    """Keeps average <- decay * average + (1 - decay) * weight for every parameter, batch norm's statistics included.

    Args:
        network: whose parameters are averaged, from their present values on.
        decay: weight of the old average.
    """

    def __init__(self, network: nn.Cell, decay: float):
        super().__init__(auto_prefix=False)
        self.decay = decay
        self.weights = ms.ParameterTuple(network.get_parameters())
        self.averages = self.weights.clone(prefix="ema", init="same")
        # A loop over the hundreds of weights would exceed MindSpore's limit of nested calls.
        self.map = ops.HyperMap()

    def construct(self) -> ms.Tensor:
        """Take the present weights into the averages, and return nothing of use."""
        done = self.map(ops.partial(_move, 1.0 - self.decay), self.averages, self.weights)
        return ops.depend(ops.zeros((), ms.float32), done)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Put the averages in the network's place for a while."""
        kept = [weight.asnumpy().copy() for weight in self.weights]
        for weight, average in zip(self.weights, self.averages, strict=True):
            weight.set_data(ms.Tensor(average.asnumpy().copy()))
        try:
            yield
        finally:
            for weight, array in zip(self.weights, kept, strict=True):
                weight.set_data(ms.Tensor(array))
