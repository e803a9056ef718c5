from torch import Tensor
from torch.nn import functional

from zoo.metrics.clip_metric import Known
from zoo.metrics.embedding import EmbeddingMetric, IdentityEmbedding, Reference


class CSIM(EmbeddingMetric):
    """Cosine similarity of identity embeddings. Higher is better, -1 to 1.

    Frames in which the embedding finds nobody are left out (``skipped``). Called ``csim_<embedding>``.

    Args:
        embedding: Says who is in a frame.
        to: What predictions are compared with: their true frames (``target``) or the ``source``.
    """

    higher_is_better = True

    def __init__(self, embedding: IdentityEmbedding, to: Reference = "target") -> None:
        super().__init__("csim", embedding, to)

    def _measure_clip(self, prediction: Tensor, known: Known) -> Tensor:
        return self._mean(functional.cosine_similarity(*self._embeddings(prediction, known)))
