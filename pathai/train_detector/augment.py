"""The same nuclei in another laboratory: stain, scanner, focus, compression, and debris.

Works on whole batches, in optical density where stains are concerned.

References
----------
Tellez D, Litjens G, Bandi P, et al. Quantifying the effects of data augmentation and stain color
normalization in convolutional neural networks for computational pathology. Med Image Anal
2019;58:101544.
"""

from io import BytesIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Rng = np.random.Generator
STAINS = torch.tensor([[0.65, 0.70, 0.29], [0.16, 0.87, 0.46], [0.27, 0.57, 0.78]])
STAINS = STAINS / STAINS.norm(dim=1, keepdim=True)
"""Hematoxylin, eosin, DAB: rows, in optical density of red, green, blue."""


def uniform(rng: Rng, low: float, high: float, *shape: int) -> Tensor:
    """``float32[shape]``, even between two limits."""
    return torch.from_numpy(rng.uniform(low, high, shape).astype(np.float32))


def affine(
    pixels: list[NDArray[np.uint8]],
    labels: list[NDArray[np.int32]],
    scale: list[float],
    edge: int,
    rng: Rng,
) -> tuple[Tensor, Tensor]:
    """Turned, mirrored, stretched crops: ``float32[B, 3, edge, edge]`` 0 to 1, ``int32[B, ...]``.

    Parameters
    ----------
    pixels, labels : lists
        One picture and label map each, of any size.
    scale : list of float
        Px of the picture per px of the crop.
    edge : int
        Of the crops, px.
    rng : numpy generator
    """  # fmt: skip
    images, maps = [], []
    base = functional.affine_grid(torch.eye(2, 3)[None], [1, 1, edge, edge], align_corners=False)[0]
    base = base * (edge / 2)  # px from the middle
    for rgb, label, factor in zip(pixels, labels, scale, strict=True):
        height, width = label.shape
        angle, shear = rng.uniform(0, 2 * np.pi), rng.uniform(-0.12, 0.12)
        stretch = np.exp(rng.uniform(-0.12, 0.12))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        form = np.array([[stretch, shear], [0, 1 / stretch]]) * factor
        if rng.uniform() < 0.5:
            form[:, 0] *= -1
        matrix = torch.from_numpy((turn @ form).astype(np.float32))
        half = edge * factor * 0.6
        x = rng.uniform(min(half, width / 2), max(width - half, width / 2))
        y = rng.uniform(min(half, height / 2), max(height - half, height / 2))
        place = base @ matrix.T + torch.tensor([x, y], dtype=torch.float32)
        grid = (2 * place / torch.tensor([width, height]) - 1)[None]
        image = torch.from_numpy(np.array(rgb)).permute(2, 0, 1)[None].float() / 255
        image = functional.grid_sample(image, grid, padding_mode="reflection", align_corners=False)
        images.append(image)
        whole = functional.grid_sample(
            torch.from_numpy(label)[None, None].double(), grid.double(), mode="nearest",
            padding_mode="reflection", align_corners=False,
        )  # fmt: skip
        # what a mirror shows twice is not one nucleus: unknown
        inside = (place[..., 0] >= 0) & (place[..., 0] < width)
        inside &= (place[..., 1] >= 0) & (place[..., 1] < height)
        maps.append(torch.where(inside, whole[0, 0].int(), torch.tensor(-1, dtype=torch.int32)))
    return torch.cat(images), torch.stack(maps)


def density(image: Tensor) -> Tensor:
    """Optical density of intensities 0 to 1."""
    return -torch.log((image * 255 + 1) / 256)


def light(od: Tensor) -> Tensor:
    """Intensities 0 to 1 of an optical density."""
    return ((256 * torch.exp(-od) - 1) / 255).clamp(0, 1)


def nuclei_changed(od: Tensor, labels: Tensor, rng: Rng) -> Tensor:
    """Each nucleus paler or darker; some open, with a rim, as vesicular nuclei are."""
    for b in range(len(od)):
        most = int(labels[b].max())
        if most < 1 or rng.uniform() < 0.3:
            continue
        inner = _eroded(labels[b], int(rng.integers(1, 3)))
        body = np.exp(rng.normal(0, 0.22, most + 1))
        core = np.where(
            rng.uniform(size=most + 1) < rng.uniform(0, 0.5), rng.uniform(0.5, 0.9, most + 1), 1.0
        )
        body[0] = core[0] = 1.0
        index = labels[b].clamp(min=0).long()
        factor = torch.from_numpy(body.astype(np.float32))[index]
        open_ = torch.from_numpy(core.astype(np.float32))[index]
        factor = factor * torch.where(inner, open_, torch.ones(()))
        factor = functional.avg_pool2d(factor[None, None], 3, 1, 1)[0]
        od[b] = od[b] * factor
    return od


def _eroded(labels: Tensor, by: int) -> Tensor:
    """Pixels at least ``by`` px inside their nucleus."""
    near = labels[None, None].float()
    edge = 2 * by + 1
    same = functional.max_pool2d(near, edge, 1, by) == -functional.max_pool2d(-near, edge, 1, by)
    return same[0, 0] & (labels > 0)


def as_ihc(od: Tensor, labels: Tensor, rng: Rng) -> Tensor:
    """Hematoxylin kept as counterstain, eosin faded, some nuclei brown: H&E as a nuclear stain."""
    amount = od.permute(1, 2, 0).reshape(-1, 3) @ torch.linalg.inv(STAINS)
    shape = labels.shape
    blue = amount[:, 0].clamp(min=0).reshape(shape) * float(rng.uniform(0.4, 0.9))
    pink = amount[:, 1].clamp(min=0).reshape(shape) * float(rng.uniform(0.05, 0.35))
    most = max(int(labels.max()), 0)
    strength = rng.uniform(0.2, 1.3, most + 1) * (rng.uniform(size=most + 1) < rng.uniform(0, 0.8))
    strength[0] = 0
    brown = torch.from_numpy(strength.astype(np.float32))[labels.clamp(min=0).long()]
    brown = functional.avg_pool2d(brown[None, None], 5, 1, 2)[0, 0]
    texture = (blue / blue.mean().clamp(min=1e-3)).clamp(0.4, 1.8)
    brown = brown * texture.sqrt() + float(rng.uniform(0, 0.08))
    jitter = STAINS + uniform(rng, -0.06, 0.06, 3, 3)
    layers = torch.stack([blue, pink, brown])
    return torch.einsum("shw,sc->chw", layers, jitter)


def stained_anew(od: Tensor, rng: Rng) -> Tensor:
    """Amounts and colors of the stains of each picture changed."""
    inverse = torch.linalg.inv(STAINS)
    for b in range(len(od)):
        amount = torch.diag(torch.exp(uniform(rng, -0.45, 0.45, 3)))
        colors = STAINS + uniform(rng, -0.09, 0.09, 3, 3)
        colors = colors / colors.norm(dim=1, keepdim=True)
        moved = od[b].permute(1, 2, 0) @ inverse @ amount @ colors
        od[b] = moved.permute(2, 0, 1) * float(np.exp(rng.uniform(-0.3, 0.25)))
    return od


def hazed(od: Tensor, rng: Rng) -> Tensor:
    """A stain that lies over everything, unevenly: nuclei on dark ground."""
    for b in range(len(od)):
        if rng.uniform() < 0.4:
            rough = uniform(rng, 0, 1, 1, 1, 4, 4)
            cloud = functional.interpolate(rough, od.shape[2:], mode="bicubic", align_corners=True)
            mix = uniform(rng, 0, 1, 2) @ STAINS[:2]
            od[b] += cloud[0].clamp(min=0) * mix[:, None, None] * float(rng.uniform(0, 0.6))
    return od


def debris(od: Tensor, labels: Tensor, rng: Rng) -> Tensor:
    """Things that are no nuclei, between nuclei: specks, shards, red cells, holes, folds."""
    _, _, height, width = od.shape
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    for b in range(len(od)):
        free = (labels[b] == 0).float()
        if rng.uniform() < 0.3:
            shape = (0.7, 2.0, 1.0, 4.0) if rng.uniform() < 0.6 else (0.8, 2.5, 6.0, 30.0)
            for _ in range(int(rng.integers(1, 8))):  # specks smaller than nuclei, long shards
                spot = _ellipse(rows, columns, rng, *shape)
                color = uniform(rng, 0.2, 1.2, 3)[:, None, None]
                od[b] += torch.exp(-(spot**2)) * free * color
        if rng.uniform() < 0.2:
            for _ in range(int(rng.integers(1, 14))):  # red cells
                far = _ellipse(rows, columns, rng, 4.5, 8, 1.0, 1.15)
                disc = torch.sigmoid((1 - far) * 9) * (0.75 + 0.25 * far.clamp(0, 1))
                od[b] += disc * free * float(rng.uniform(0.3, 0.9)) * STAINS[1][:, None, None]
        if rng.uniform() < 0.25:
            for _ in range(int(rng.integers(1, 6))):  # vacuoles, fat, small lumens; some rimmed
                far = _ellipse(rows, columns, rng, 3, 13, 1.0, 1.8)
                hole = torch.sigmoid((1 - far) * 10) * free
                rim = torch.exp(-(((far - 1.05) * 8) ** 2)) * free * float(rng.uniform(0, 0.5))
                od[b] = od[b] * (1 - 0.95 * hole) + rim * STAINS[1][:, None, None]
        if rng.uniform() < 0.1:  # a fold doubles the tissue
            turn, place = rng.uniform(0, np.pi), rng.uniform(0, width)
            band = (columns * np.cos(turn) + rows * np.sin(turn)) - place
            fold = torch.sigmoid((rng.uniform(6, 24) - band.abs()) * 0.6)
            od[b] = od[b] * (1 + fold * float(rng.uniform(0.4, 1.0)))
    return od


def _ellipse(
    rows: Tensor, columns: Tensor, rng: Rng, low: float, high: float, least: float, most: float
) -> Tensor:
    """Distance from somewhere, in units of an ellipse ``low`` to ``high`` px wide."""
    y, x = rng.uniform(0, rows.shape[0]), rng.uniform(0, rows.shape[1])
    size, long, turn = rng.uniform(low, high), rng.uniform(least, most), rng.uniform(0, np.pi)
    a = (columns - x) * np.cos(turn) + (rows - y) * np.sin(turn)
    c = (rows - y) * np.cos(turn) - (columns - x) * np.sin(turn)
    return torch.hypot(a / (size * long), c / size)


def other_ground(od: Tensor, labels: Tensor, ground: Tensor, rng: Rng) -> Tensor:
    """Fine structure of real stroma laid over drawn tissue, outside of its nuclei.

    Parameters
    ----------
    od : float32[3, h, w]
    labels : int32[h, w]
    ground : float32[3, h, w]
        Optical density of tissue without nuclei.
    """
    fine = ground - functional.avg_pool2d(ground[None], 31, 1, 15, count_include_pad=False)[0]
    outside = (labels == 0).float()
    outside = functional.avg_pool2d(outside[None, None], 3, 1, 1)[0, 0]
    return (od + fine * outside * float(rng.uniform(0.4, 1.2))).clamp(min=0)


def scanned(image: Tensor, rng: Rng) -> Tensor:
    """Gain, tone, focus, sharpening, noise and compression of another scanner."""
    for b in range(len(image)):
        one = image[b]
        one = one * (float(rng.uniform(0.86, 1.06)) * uniform(rng, 0.95, 1.05, 3))[:, None, None]
        one = one.clamp(0.002, 1) ** float(np.exp(rng.uniform(-0.3, 0.3)))
        if rng.uniform() < 0.04:
            one = one.mean(dim=0, keepdim=True).expand(3, -1, -1)
        if rng.uniform() < 0.4:
            one = _blur(one, float(rng.uniform(0.3, 1.5)))
        if rng.uniform() < 0.3:
            one = one + float(rng.uniform(0.3, 1.8)) * (
                one - _blur(one, float(rng.uniform(0.7, 1.5)))
            )
        if rng.uniform() < 0.4:
            noise = rng.normal(0, rng.uniform(0.004, 0.03), one.shape).astype(np.float32)
            one = one + torch.from_numpy(noise)
        one = one.clamp(0, 1)
        if rng.uniform() < 0.4:
            one = _jpeg(one, int(rng.integers(30, 92)))
        image[b] = one
    return image


def _blur(image: Tensor, sigma: float) -> Tensor:
    reach = max(int(np.ceil(2.5 * sigma)), 1)
    step = torch.arange(-reach, reach + 1).float()
    weight = torch.exp(-(step**2) / (2 * sigma**2))
    weight = weight / weight.sum()
    wide = functional.pad(image[:, None], (reach, reach, reach, reach), mode="replicate")
    wide = functional.conv2d(wide, weight[None, None, :, None])
    return functional.conv2d(wide, weight[None, None, None, :])[:, 0]


def _jpeg(image: Tensor, quality: int) -> Tensor:
    from PIL import Image

    buffer = BytesIO()
    pixels = (image.permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    back = np.asarray(Image.open(buffer)).astype(np.float32) / 255
    return torch.from_numpy(back).permute(2, 0, 1)
