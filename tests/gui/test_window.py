"""The window around the slide: what it tells its parts, its keys, its pages."""

import gc

import pytest


@pytest.fixture
def window(run_folder, qtbot):
    """The window on the run, drawn and with the keys at work."""
    from qtpy.QtWidgets import QApplication

    from pathai.viewer.app import open_window

    viewer, dock = open_window(run_folder, "dr-a")
    for _ in range(5):
        QApplication.processEvents()
    yield viewer, dock
    viewer.close()
    QApplication.processEvents()
    gc.collect()


@pytest.mark.gui
def test_parts_are_told_of_slides_and_of_the_camera_at_rest(window, qtbot):
    viewer, dock = window
    review, told = dock.review, []
    review.slide_shown.connect(lambda: told.append(("shown", review.slide.slide_id)))
    review.slide_cleared.connect(lambda: told.append(("cleared", review.slide)))
    review.at_rest.connect(lambda: told.append("rest"))
    review.open_case("C02")
    assert [one for one in told if one != "rest"] == [("cleared", None), ("shown", "S02")]
    told.clear()
    review.show_slide("S03")
    assert [one for one in told if one != "rest"] == [("cleared", None), ("shown", "S03")]
    told.clear()
    qtbot.wait(300)  # let the camera come to rest
    told.clear()
    for zoom in (1.0, 2.0, 3.0):
        viewer.scene.camera.zoom = zoom
    qtbot.waitUntil(lambda: bool(told))
    assert told == ["rest"]  # once for a move, not once for each step of it
    review.open_case("C03")  # nothing to see in it
    assert ("cleared", None) in told
    assert not any(isinstance(one, tuple) and one[0] == "shown" for one in told)
