"""Layers are kept from slide to slide, and nobody can tell."""

import gc

import numpy as np
import pytest

from pathai.review_log import read_log

pytestmark = pytest.mark.gui


@pytest.fixture
def windows(run_folder, qtbot):
    """Makes windows on the run; closed at the end."""
    from qtpy.QtWidgets import QApplication

    from pathai.viewer.app import open_window

    made = []

    def make(**options):
        made.append(open_window(run_folder, "dr-a", **options))
        QApplication.processEvents()
        return made[-1]

    yield make
    for viewer, _ in made:
        viewer.close()
    QApplication.processEvents()
    gc.collect()


def seen(viewer):
    """All that a layer shows, from the bottom to the top."""
    return [
        (
            layer.name, type(layer).__name__, layer.visible, layer.editable, layer.mode,
            round(layer.opacity, 6), layer.scale.tolist(), layer.translate.tolist(),
            dict(layer.metadata), pixels(layer),
        )
        for layer in viewer.layers
    ]  # fmt: skip


def pixels(layer):
    """Digest of the data of a layer; shapes and points as they are."""
    if type(layer).__name__ in ("Shapes", "Points"):
        return [np.round(one, 3).tolist() for one in layer.data]
    levels = layer.data if layer.multiscale else [layer.data]
    colors = layer.colormap.map(np.arange(5)).tolist() if not getattr(layer, "rgb", 0) else None
    return [np.nan_to_num(np.asarray(one)).sum(dtype=float) for one in levels], colors


def test_a_case_looks_the_same_whatever_was_open_before(windows):
    viewer, dock = windows(blind=False)
    truth = {}  # as layers are that were made for the case: C03 has no pixels, and so no layers
    for case_id in ("C01", "C02"):
        dock.review.open_case(case_id)
        if case_id == "C01":
            dock.review.select(dock.review.case.sentences[0].id)  # its evidence is drawn
            dock.review.part("counting").drop((300, 300))
        dock.review.open_case("C03")
        assert not [one for one in viewer.layers if one.metadata.get("pathai")]
        dock.review.open_case(case_id)
        truth[case_id] = seen(viewer)
    before = list(viewer.layers)
    for case_id in ("C01", "C02", "C01", "C02"):
        dock.review.open_case(case_id)
        assert seen(viewer) == truth[case_id]
    assert [one for one in viewer.layers if one not in before] == []  # kept, not made anew


def test_what_is_half_drawn_belongs_to_no_other_case(windows, run_folder):
    viewer, dock = windows(blind=False)
    review = dock.review
    review.open_case("C01")
    for part, name in (("counting", "regions"), ("drawing", "tissue regions")):
        review.part(part)
        layer = viewer.layers[name]
        layer.visible, viewer.layers.selection.active = True, layer
        layer.mode = "add_polygon"
        layer.add([np.array([[10, 10], [10, 90], [90, 90]])], shape_type="polygon")
        layer._is_creating = True  # as between two clicks
    logged = len(read_log(run_folder / "reviews" / "C01" / "dr-a.jsonl"))
    review.open_case("C02")
    assert all(str(layer.mode) == "pan_zoom" for layer in viewer.layers)
    assert not len(viewer.layers["regions"].data)
    assert not len(viewer.layers["tissue regions"].data)
    kinds = {one.kind for one in read_log(run_folder / "reviews" / "C02" / "dr-a.jsonl")}
    assert not {kind for kind in kinds if "region" in kind}
    review.open_case("C01")
    assert len(read_log(run_folder / "reviews" / "C01" / "dr-a.jsonl")) >= logged


@pytest.mark.blind
def test_nothing_of_a_revealed_case_is_seen_in_the_next(windows):
    viewer, dock = windows()
    dock.review.open_case("C01")
    dock.review.reveal("to compare")
    assert viewer.layers["attention: tumor"].visible
    shown = []
    for name in ("attention: tumor", "nuclei", "nuclei, outlines", "evidence", "tissue"):
        viewer.layers[name].events.visible.connect(
            lambda event: shown.append(event.source.name) if event.source.visible else None
        )
    dock.review.open_case("C02")
    assert dock.review.blind
    assert shown == []
    assert {one.name for one in viewer.layers if one.visible} <= {
        "slide", "seen", "regions", "ruler", "tissue regions", "nuclei, added", "outline",
    }  # fmt: skip


def test_the_readers_own_layer_stays(windows):
    viewer, dock = windows(blind=False)
    own = viewer.add_points([[5, 5]], name="mine")
    dock.review.open_case("C02")
    assert own in viewer.layers
    assert viewer.layers.index(own) > viewer.layers.index(viewer.layers["slide"])
