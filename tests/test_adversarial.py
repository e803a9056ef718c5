"""The GAN loop against loops written by hand."""

import pytest
import torch
from lightning import Callback, Trainer
from lightning.pytorch.plugins import MixedPrecision
from torch import nn
from torch.utils.data import DataLoader

from zoo.adversarial import AdversarialTraining, Phase
from zoo.batch import Batch
from zoo.errors import OptionError

BATCHES = [
    Batch(source=torch.rand(4, 1, 3, 8, 8, generator=g), driving=torch.rand(4, 1, 3, 8, 8, generator=g))
    for g in [torch.Generator().manual_seed(seed) for seed in range(4)]
]


class TinyGan(AdversarialTraining):
    """A convolution that imitates the driving frame, and one that judges."""

    inference_networks = ("painter",)

    def __init__(self, order=("painter", "judge"), clip=None, steps=1, skip=()):
        super().__init__()
        torch.manual_seed(0)
        self.painter = nn.Conv2d(3, 3, 3, padding=1)
        self.judge = nn.Conv2d(3, 1, 3)
        phases = {"painter": Phase("painter", ("painter",), clip, steps), "judge": Phase("judge", ("judge",))}
        self.phases = tuple(phases[name] for name in order)
        self.skip = skip

    def training_forward(self, batch):
        return {"prediction": self.painter(batch["source"][:, 0])}

    def losses(self, phase, batch, rendered):
        if phase in self.skip:
            return {}
        truth, prediction = batch["driving"][:, 0], rendered["prediction"]
        if phase == "painter":
            return painter_losses(self.judge, prediction, truth)
        return judge_losses(self.judge, prediction, truth)

    def configure_optimizers(self):
        return [torch.optim.Adam(self.get_submodule(p.name).parameters(), lr=0.01) for p in self.phases]


def painter_losses(judge, prediction, truth):
    return {"l1": 3 * (prediction - truth).abs().mean(), "gan": ((1 - judge(prediction)) ** 2).mean()}


def judge_losses(judge, prediction, truth):
    return {"gan": ((1 - judge(truth)) ** 2).mean() + (judge(prediction.detach()) ** 2).mean()}


def train(method, callbacks=(), **options):
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        callbacks=list(callbacks),
        **options,
    )
    trainer.fit(method, DataLoader(BATCHES, batch_size=None))
    return trainer


def by_hand(method, order, clip=None, steps=1):
    """The same training without the loop: plain PyTorch, one phase after the other."""
    networks = {"painter": method.painter, "judge": method.judge}
    optimizers = {name: torch.optim.Adam(network.parameters(), lr=0.01) for name, network in networks.items()}
    for batch in BATCHES:
        prediction, truth = method.painter(batch["source"][:, 0]), batch["driving"][:, 0]
        for name in order:
            losses = painter_losses if name == "painter" else judge_losses
            terms = losses(method.judge, prediction, truth)
            gradients = torch.autograd.grad(
                torch.stack(list(terms.values())).sum(), list(networks[name].parameters()), retain_graph=True
            )
            for parameter, gradient in zip(networks[name].parameters(), gradients, strict=True):
                parameter.grad = gradient
            if name == "painter" and clip is not None:
                nn.utils.clip_grad_norm_(networks[name].parameters(), clip)
            for _ in range(steps if name == "painter" else 1):
                optimizers[name].step()
    return method


@pytest.mark.parametrize("order", [("painter", "judge"), ("judge", "painter")], ids=["painter first", "judge first"])
@pytest.mark.parametrize("options", [{}, {"clip": 0.05}, {"steps": 2}], ids=str)
def test_equals_a_loop_written_by_hand(order, options):
    ours = TinyGan(order, **options)
    train(ours)
    expected = by_hand(TinyGan(order, **options), order, **options).state_dict()
    for key, tensor in ours.state_dict().items():
        assert torch.equal(tensor, expected[key]), key


@pytest.mark.parametrize(("options", "refused"), [({"steps": 2}, True), ({"clip": 1.0}, True), ({}, False)], ids=str)
def test_scaled_gradients_are_neither_clipped_nor_used_twice(options, refused):
    half = MixedPrecision("16-mixed", "cpu")
    if refused:
        with pytest.raises(OptionError, match=r"TinyGan can't be trained in 16-mixed.* bf16-mixed"):
            train(TinyGan(**options), plugins=half)
    else:
        assert train(TinyGan(**options), plugins=half).global_step == len(BATCHES)


@pytest.mark.parametrize("options", [{}, {"steps": 2}, {"skip": ("painter",)}], ids=str)
def test_global_step_counts_batches(options):
    assert train(TinyGan(**options)).global_step == len(BATCHES)


def test_frozen_parameters_stay_frozen():
    method = TinyGan()
    method.judge.bias.requires_grad_(False)
    before = method.judge.bias.clone()
    train(method)
    assert not method.judge.bias.requires_grad
    assert torch.equal(method.judge.bias, before)


def test_terms_are_logged_by_phase():
    class Seen(Callback):
        def on_train_batch_end(self, trainer, *_):
            self.names = set(trainer.callback_metrics)

    seen = Seen()
    train(TinyGan(), [seen])
    assert {"train/painter/l1", "train/painter/gan", "train/judge/gan"} <= seen.names
