"""How a network runs changes its vectors by rounding only, or its digest."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pathai.encoders import load_encoder
from pathai.encoders.memory import TileError, out_of_memory
from pathai.encoders.network import NetworkEncoder, precision_on
from pathai.encoders.setup import Setup
from pathai.encoders.timm_encoder import TimmEncoder

MODELS = ("test_vit.r160_in1k", "test_resnet.r160_in1k")
CPU = Setup(device="cpu")


def tiles(count: int, edge: int = 160) -> np.ndarray:
    rng = np.random.default_rng(count)
    return rng.integers(0, 256, (count, edge, edge, 3), dtype=np.uint8)


def small(setup: Setup = CPU, fits: int = 10**9) -> NetworkEncoder:
    """Mean color of a tile, by a network that raises above a number of tiles."""
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())

    def forward(pixels: torch.Tensor) -> torch.Tensor:
        if len(pixels) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")
        seen.append(len(pixels))
        return network(pixels)

    seen: list[int] = []
    made = NetworkEncoder(
        "small", network, forward, "0" * 64, tile_px=32, mpp=0.5, input_px=32, fit="none",
        mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), dim=3, setup=setup,
    )  # fmt: skip
    made.seen = seen  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("batch", [1, 3, 16])
def test_the_batch_changes_nothing_but_rounding(model: str, batch: int) -> None:
    """The tolerance that docs/features.md states: 1e-5 of the largest value."""
    encoder, given = TimmEncoder(model, seeded=1, setup=CPU), tiles(16)
    whole = encoder.encode(given)
    parts = [encoder.encode(given[i : i + batch]) for i in range(0, 16, batch)]
    assert np.abs(np.concatenate(parts) - whole).max() <= 1e-5 * np.abs(whole).max()


@pytest.mark.parametrize("model", MODELS)
def test_half_precision_is_close_and_another_encoder(model: str) -> None:
    exact = TimmEncoder(model, seeded=1, setup=CPU)
    assert (exact.precision, exact.runs_on) == ("fp32", "cpu")
    wanted, digests = exact.encode(tiles(6)), {exact.digest}
    for precision in ("bf16", "fp16"):
        rough = TimmEncoder(model, seeded=1, setup=replace(CPU, precision=precision))
        found = rough.encode(tiles(6))
        assert found.dtype == np.float32
        assert rough.precision == precision
        assert 0 < np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()
        digests.add(rough.digest)
    assert len(digests) == 3


def test_auto_is_bf16_on_a_gpu_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for has in (True, False):
        monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation, h=has: h)
        assert precision_on("auto", "cuda") == ("bf16" if has else "fp32")
        assert precision_on("fp16", "cuda") == "fp16"
        assert precision_on("auto", "cpu") == "fp32"


def test_compile_is_used_where_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []

    def compile(forward: object) -> object:
        compiled.append(forward)
        return forward

    monkeypatch.setattr("torch.compile", compile)
    small()
    assert not compiled
    small(replace(CPU, compile=True)).encode(tiles(2, 32))
    assert len(compiled) == 1


def test_out_of_memory_halves_and_stays_halved() -> None:
    given = tiles(21, 32)
    plenty, tight = small(), small(fits=5)
    assert np.array_equal(tight.encode(given), plenty.encode(given))
    assert tight.seen == [5, 5, 5, 5, 1]  # type: ignore[attr-defined]  (21 and 10 did not fit)
    tight.encode(given[:8])
    assert tight.seen[-2:] == [5, 3]  # type: ignore[attr-defined]
    with pytest.raises(TileError, match="E170: not even one tile") as caught:
        small(fits=0).encode(given)
    assert caught.value.row == 0


def test_what_is_no_lack_of_memory_is_raised_as_it_is() -> None:
    with pytest.raises(RuntimeError, match="size of tensor"):
        small().encode(tiles(2, 32)[..., :2])
    assert out_of_memory(MemoryError())
    assert out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    assert not out_of_memory(RuntimeError("shapes differ"))


def test_begun_batches_keep_their_own_results() -> None:
    encoder, given = small(), tiles(12, 32)
    room = encoder.room(4)
    assert (room.shape, room.dtype) == ((4, 32, 32, 3), np.uint8)
    fetches = [encoder.start(given[i : i + 4]) for i in (0, 4, 8)]
    found = np.concatenate([fetch() for fetch in reversed(fetches)])
    assert np.array_equal(found, encoder.encode(given)[[8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3]])
    assert encoder.encode(given[:0]).shape == (0, 3)


def test_a_name_brings_its_setup(tmp_path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "w.safetensors"
    state = TimmEncoder(MODELS[0], seeded=1).network.state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    made = load_encoder(f"timm:{MODELS[0]}@{path}", replace(CPU, precision="bf16"))
    assert made.precision == "bf16"  # type: ignore[attr-defined]
