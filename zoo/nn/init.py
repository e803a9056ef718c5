from torch import nn


def init_normal(module: nn.Module) -> None:
    """Initialises one layer as pix2pixHD does; for ``network.apply(init_normal)``.

    Weights of (transposed) convolutions are drawn from N(0, 0.02), those of batch norms from N(1, 0.02); biases of
    batch norms are 0, and those of convolutions stay at the framework's default.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
