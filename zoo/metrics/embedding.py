"""What the metrics on identity embeddings share."""

from typing import Literal, Protocol

from torch import Tensor

from zoo.metrics.clip_metric import Known
from zoo.metrics.detection import DetectionMetric

Reference = Literal["target", "source"]


class IdentityEmbedding(Protocol):
    """Says who is in a frame: a network for faces or for re-identification, wrapped in a few lines."""

    @property
    def name(self) -> str:
        """How results call it; numbers of two embeddings aren't comparable."""

    def __call__(self, frames: Tensor) -> Tensor:
        """Embeds frames (N, 3, H, W), RGB in [0, 1]; returns (N, D), NaN in the row of a frame without a person."""


class EmbeddingMetric(DetectionMetric):
    """Compares who is in predicted frames with who should be there.

    Args:
        measure: What it measures; its name is this and the embedding's.
        embedding: Says who is in a frame.
        to: What predictions are compared with: their true frames (``target``), or the ``source``, where nobody knows
            the true frames. The latter's name ends in ``_to_source``.
    """

    def __init__(self, measure: str, embedding: IdentityEmbedding, to: Reference) -> None:
        super().__init__(f"{measure}_{embedding.name}" + ("_to_source" if to == "source" else ""), embedding)
        self.to_what = to
        self.needs = (to,)

    def _embeddings(self, prediction: Tensor, known: Known) -> tuple[Tensor, Tensor]:
        """Embeddings of the predicted frames (T, D), and of what they should be, (T, D) or (1, D)."""
        return self._find(prediction, "(N, D)"), self._find(known[self.to_what], "(N, D)")
