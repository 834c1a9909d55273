"""An exponential moving average of the weights."""

import contextlib
from collections.abc import Iterator

import mindspore as ms
from mindspore import nn, ops


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

    def construct(self) -> ms.Tensor:
        """Take the present weights into the averages, and return nothing of use."""
        done = ops.zeros((), ms.float32)
        for average, weight in zip(self.averages, self.weights):  # noqa: B905 - graphs know no `strict`
            mixed = self.decay * average + (1.0 - self.decay) * weight
            done = ops.depend(done, ops.assign(average, mixed))
        return done

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
