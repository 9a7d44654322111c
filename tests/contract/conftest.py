"""Slides of the readers' contract."""

import pytest
from contract.reader_slides import PAIRS, REAL, Shelf, short

from pathai.readers import Slide, reopen


@pytest.fixture(scope="session")
def made_slides(tmp_path_factory: pytest.TempPathFactory):
    return tmp_path_factory.mktemp("made")


@pytest.fixture
def shelf(request: pytest.FixtureRequest, made_slides) -> Shelf:
    """Real slides are there unless the test's own slide is a made one."""
    wanted = getattr(request.node, "callspec", None)
    names = wanted.params.values() if wanted else ()
    flat = [n for value in names for n in (value if isinstance(value, tuple) else (value,))]
    needs_real = any(name in REAL for name in flat if isinstance(name, str))
    real = request.getfixturevalue("test_data") if needs_real else None
    return Shelf(made_slides, real)


@pytest.fixture(params=PAIRS, ids=[f"{short(name)}-{reader}" for name, reader in PAIRS])
def slide(request: pytest.FixtureRequest, shelf: Shelf) -> Slide:
    """Every slide by every reader that opens it."""
    name, reader = request.param
    opened = reopen(shelf.path(name), reader)
    yield opened
    opened.close()
