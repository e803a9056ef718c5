from torch import Tensor

from zoo.metrics.clip_metric import Known
from zoo.metrics.embedding import EmbeddingMetric, IdentityEmbedding, Reference


class AED(EmbeddingMetric):
    """Average Euclidean distance of identity embeddings (Siarohin et al. 2019). Lower is better.

    Frames in which the embedding finds nobody are left out (``skipped``). Called ``aed_l2_<embedding>``.

    Args:
        embedding: Says who is in a frame.
        to: What predictions are compared with: their true frames (``target``) or the ``source``.
        squared: The mean *squared* distance, which the published script prints under the same name. Called
            ``aed_sq_<embedding>``. (For bodies the published figures also divide pixels by 255 twice before their
            network: that belongs into the embedding.)

    Example:
        >>> import torch
        >>> class MeanColour:
        ...     name = "mean_colour"
        ...
        ...     def __call__(self, frames):
        ...         return frames.mean((2, 3))
        >>> metric = AED(MeanColour())
        >>> metric.update(torch.zeros(1, 2, 3, 16, 16), torch.ones(1, 2, 3, 16, 16))
        >>> f"{metric.name} {metric.compute():.4f}"
        'aed_l2_mean_colour 1.7321'
    """

    higher_is_better = False

    def __init__(self, embedding: IdentityEmbedding, to: Reference = "target", squared: bool = False) -> None:
        super().__init__("aed_sq" if squared else "aed_l2", embedding, to)
        self.squared = squared

    def _measure_clip(self, prediction: Tensor, known: Known) -> Tensor:
        return self._mean(embedding_distance(*self._embeddings(prediction, known), squared=self.squared))


def embedding_distance(prediction: Tensor, truth: Tensor, squared: bool = False) -> Tensor:
    """Euclidean (or squared) distance (N,) of embeddings (N, D); a NaN in either is NaN."""
    distance = (prediction - truth).square().sum(-1)
    return distance if squared else distance.sqrt()
