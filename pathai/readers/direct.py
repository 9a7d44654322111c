"""The compressed tiles of a slide as chunks, so that a feed can read them without a store."""

from contextlib import ExitStack
from types import TracebackType

from pathai.errors import PathaiError
from pathai.readers.tiled_tiff import TiledTiffReader
from pathai.source import read_at
from pathai.store.chunked import ChunkedImage, Levels, Pixels
from pathai.store.chunks import Undecodable, unpack
from pathai.store.tile_check import CannotCopy, TileCheck
from pathai.store.tile_copy import CompressedTiles, ReadAt


class SlideLevel(ChunkedImage):
    """One level of a slide.

    Parameters
    ----------
    number : int
        Which level; 0 is the finest.
    tiles : CompressedTiles
        Where its tiles lie.
    read : callable
        Number of bytes and offset to bytes of the slide's file.
    """

    def __init__(self, number: int, tiles: CompressedTiles, read: ReadAt) -> None:
        super().__init__(number, tiles.size, tiles.downsample, tiles.tile)
        self.tiles, self._read = tiles, read
        self._counts = tiles.counts.tolist()
        self._check = TileCheck(tiles.codec, tiles.tile, tiles.complete)

    def decode(self, row: int, column: int, out: Pixels) -> bool:
        """See `ChunkedImage.decode`."""
        data = self.tiles.fetch(self._read, row, column)
        try:
            if data and self._check.sound(data):
                unpack(self.tiles.codec, self.tiles.complete(data), out)
                return True
        except (Undecodable, CannotCopy):
            pass
        self._lose(row, column)
        return False

    def holds(self, row: int, column: int) -> bool:
        """Every tile is there; one without bytes is lost when it is read."""
        return True


class SlidePyramid(Levels):
    """Levels of a slide whose tiles are plain JPEG or JPEG 2000; a context that closes its file.

    Parameters
    ----------
    slide : TiledTiffReader
        Open slide.

    Raises
    ------
    PathaiError
        E119 if its tiles are compressed otherwise: run ``pathai tile`` and read its store.
    """

    def __init__(self, slide: TiledTiffReader) -> None:
        tiles = slide.compressed()
        if not tiles:
            raise PathaiError("E119", "tiles are not JPEG", "run pathai tile, read its store")
        self._open = ExitStack()
        read = self._open.enter_context(read_at(slide.path))
        super().__init__([SlideLevel(k, level, read) for k, level in enumerate(tiles)])

    def __enter__(self) -> "SlidePyramid":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()
