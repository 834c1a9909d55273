"""The processes of a run, one for each device, and what they tell each other."""

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from src.utils.errors import UserError

# How launchers say how many processes there are: Open MPI; msrun and the launch scripts here.
_SIZES = ("OMPI_COMM_WORLD_SIZE", "RANK_SIZE")
_WORD = 4
Result = TypeVar("Result")


@dataclass(frozen=True)
class ProcessGroup:
    """All processes of a run; the default is a process on its own.

    Every method is to be called by all processes, in the same order.

    Attributes:
        rank: this process, from 0. Process 0 writes the files.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and logs."""
        return self.rank == 0

    def all_reduce(self, value: float) -> float:
        """Return the sum of every process's `value`, in float32."""
        if self.size == 1:
            return value
        import mindspore as ms

        return float(ms.ops.AllReduce()(ms.Tensor([value], ms.float32)).asnumpy()[0])

    def all_reduce_mean(self, array: np.ndarray) -> np.ndarray:
        """Return the mean of every process's float32 `array`, all of one shape."""
        if self.size == 1:
            return array
        import mindspore as ms

        return ms.ops.AllReduce()(ms.Tensor(array, ms.float32)).asnumpy() / np.float32(self.size)

    def barrier(self) -> None:
        """Wait until all processes are here."""
        self.all_reduce(0.0)

    def gather(self, data: bytes) -> list[bytes]:
        """Return every process's `data`, by rank."""
        if self.size == 1:
            return [data]
        # Lengths first, then the bytes as whole words: integers pass through every backend unchanged.
        lengths = self._gather_words(np.array([len(data)], np.int32))[:, 0]
        words = np.zeros(-(-int(lengths.max()) // _WORD) + 1, np.int32)
        words.view(np.uint8)[: len(data)] = np.frombuffer(data, np.uint8)
        return [row.tobytes()[:length] for row, length in zip(self._gather_words(words), lengths, strict=True)]

    def _gather_words(self, words: np.ndarray) -> np.ndarray:
        import mindspore as ms

        return ms.ops.AllGather()(ms.Tensor(words)).asnumpy().reshape(self.size, -1)

    def on_main(self, action: Callable[[], Result]) -> Result:
        """Do something on process 0 alone, and give all processes what it returned.

        Args:
            action: returns what JSON can hold.

        Raises:
            UserError: `action` raised it; every process does then, so that none waits for another.
        """
        answer: dict[str, object] = {}
        if self.is_main:
            try:
                answer = {"result": action()}
            except UserError as error:
                answer = {"error": str(error)}
        answer = json.loads(self.gather(json.dumps(answer).encode())[0])
        if "error" in answer:
            raise UserError(answer["error"])
        return answer["result"]

    def broadcast(self, parameters: Iterable) -> None:
        """Give `parameters` (of four-byte types, the same names and shapes everywhere) the values of process 0."""
        if self.size == 1:
            return
        import mindspore as ms

        send = ms.ops.Broadcast(0)
        for parameter in parameters:
            mine = parameter.asnumpy()
            words = np.ascontiguousarray(mine).reshape(-1).view(np.int32)
            theirs = send((ms.Tensor(words),))[0].asnumpy().view(mine.dtype).reshape(mine.shape)
            parameter.set_data(ms.Tensor(theirs))


def init_process_group() -> ProcessGroup:
    """Meet the other processes of the launcher that started this one; without a launcher there are none.

    Call it after `set_up_device`. msrun's scheduler process never returns from here.

    Raises:
        UserError: the other processes do not come, or others are in their place.
    """
    size = next((int(os.environ[name]) for name in _SIZES if name in os.environ), 1)
    if size == 1 and "MS_ROLE" not in os.environ:
        return ProcessGroup()
    from mindspore import communication

    try:
        communication.init()
    except RuntimeError as error:
        raise UserError(f"cannot meet the other processes: {str(error).strip().splitlines()[0]}") from error
    return ProcessGroup(communication.get_rank(), communication.get_group_size())


def local_device() -> int:
    """Return which of this machine's devices the launcher gave to this process; 0 without a launcher."""
    return int(os.environ.get("DEVICE_ID", os.environ.get("OMPI_COMM_WORLD_LOCAL_RANK", "0")))
