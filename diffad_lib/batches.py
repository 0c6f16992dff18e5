"""Training batches: normal images drawn in shuffled epochs, anomalies made on the device."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from diffad_lib.synthesis.synthesizer import Synthesizer
from diffad_lib.types import TrainingBatch


@dataclass(frozen=True, eq=False)
class SyntheticBatches:
    """Batch `index` of an endless stream; it depends on (seed, index) only.

    So a resumed run sees the same batches, and no worker, queue or global random state takes part.
    """

    images: np.ndarray  # uint8 [N,3,H,W] on the host
    names: Sequence[str]  # of the N files, for error messages
    synthesizer: Synthesizer
    batch_size: int
    seed: int
    device: torch.device
    foregrounds: np.ndarray | None = None  # uint8 [N,1,H,W]

    def __call__(self, index: int) -> TrainingBatch:
        """The batch, on the device."""
        rows = self._rows(index)
        seed = int(np.random.SeedSequence((self.seed, index)).generate_state(1, np.uint64)[0])
        generator = torch.Generator(self.device).manual_seed(seed)
        images = self._to_device(self.images[rows]).float() / 255  # [B,3,H,W]
        foregrounds = None
        if self.foregrounds is not None:
            foregrounds = self._to_device(self.foregrounds[rows]).float()  # [B,1,H,W]
        return self.synthesizer(images, foregrounds, generator)

    def describe(self, index: int) -> str:
        """The file names in a batch."""
        return ", ".join(self.names[row] for row in self._rows(index))

    def _rows(self, index: int) -> np.ndarray:
        """Image numbers of a batch: a cut of the concatenated, separately shuffled epochs."""
        count = len(self.images)
        positions = np.arange(index * self.batch_size, (index + 1) * self.batch_size)
        orders = {
            epoch: np.random.default_rng((self.seed, int(epoch))).permutation(count)
            for epoch in np.unique(positions // count)
        }
        return np.array([orders[position // count][position % count] for position in positions])

    def _to_device(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)
