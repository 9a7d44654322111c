"""The network of `nuclei-small`: where nuclei have their centers, and how far their edges are.

Fully convolutional and of bounded reach, so that a block with `HALO_PX` around it gives the same
nuclei as the whole slide. No normalization looks at the whole picture.
"""

import torch
from torch import Tensor, nn

ALIGN_PX = 8
"""Edges of input are multiples of this; blocks start at multiples of it."""
HALO_PX = 61
"""No pixel farther than this from another takes part in its answer."""
RAYS = 16
"""Directions in which the edge is sought: counter-clockwise in px, the first along x."""
WIDTHS = (32, 64, 128)
MEAN, SPREAD = 0.75, 0.25
"""Of input intensities (0 to 1), about those of tissue."""


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside a straight line."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv(channels, channels)
        self.second = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """``float[B, C, h, w]`` to the same shape."""
        return torch.relu(x + self.second(self.first(x)))


def conv(before: int, after: int, edge: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, normalization, ReLU."""
    padding = edge // 2 if stride == 1 else 0
    return nn.Sequential(
        nn.Conv2d(before, after, edge, stride, padding, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )


class NucleusNet(nn.Module):
    """Three scales (2, 4 and 8 px), read out at every pixel and every second one.

    References
    ----------
    Ronneberger O, Fischer P, Brox T. U-Net: convolutional networks for biomedical image
    segmentation. MICCAI 2015, arXiv:1505.04597.
    Zhou X, Wang D, Krahenbuhl P. Objects as points. 2019, arXiv:1904.07850.
    Schmidt U, Weigert M, Broaddus C, Myers G. Cell detection with star-convex polygons. MICCAI
    2018, arXiv:1806.03535.
    """

    def __init__(self, widths: tuple[int, int, int] = WIDTHS) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.stem = nn.Sequential(conv(12, fine), Residual(fine))
        self.down = nn.Sequential(conv(fine, middle, 2, 2), Residual(middle), Residual(middle))
        self.deep = nn.Sequential(conv(middle, coarse, 2, 2), Residual(coarse))
        self.to_middle = nn.Conv2d(coarse, middle, 1)
        self.middle = Residual(middle)
        self.to_fine = nn.Conv2d(middle, fine, 1)
        self.fine = Residual(fine)
        self.heat = nn.Conv2d(fine, 4, 3, padding=1)
        self.shape = nn.Conv2d(fine, 1 + RAYS, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Answer for pictures.

        Parameters
        ----------
        x : float[B, 3, h, w]
            Intensities, less `MEAN`, by `SPREAD`; edges are multiples of `ALIGN_PX`.

        Returns
        -------
        heat : float[B, h, w]
            Logit that a nucleus has its center in this pixel.
        inside : float[B, h / 2, w / 2]
            Logit that this place lies in a nucleus.
        rays : float[B, RAYS, h / 2, w / 2]
            Softplus of it is the distance to the edge of the nucleus, px.
        """
        fine = self.stem(nn.functional.pixel_unshuffle(x, 2))
        middle = self.down(fine)
        deep = self.deep(middle)
        up = nn.functional.interpolate(self.to_middle(deep), scale_factor=2.0)
        middle = self.middle(middle + up)
        up = nn.functional.interpolate(self.to_fine(middle), scale_factor=2.0)
        fine = self.fine(fine + up)
        heat = nn.functional.pixel_shuffle(self.heat(fine), 2)[:, 0]
        shape = self.shape(fine)
        return heat, shape[:, 0], shape[:, 1:]


def fused(network: NucleusNet) -> NucleusNet:
    """Fold normalization into the convolutions, in place, for inference."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    network.eval()
    for module in list(network.modules()):
        if not isinstance(module, nn.Sequential) or len(module) < 2:
            continue
        first, second = module[0], module[1]
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
            module[0], module[1] = fuse_conv_bn_eval(first, second), nn.Identity()
    return network
