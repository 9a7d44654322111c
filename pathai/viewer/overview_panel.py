"""A small map in the corner of the canvas: the whole slide, and where the view is."""

from typing import Any

import numpy as np
from qtpy.QtCore import QEvent, QObject, QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QImage, QMouseEvent, QPainter, QPen, QPixmap
from qtpy.QtWidgets import QWidget

from pathai.viewer import palette
from pathai.viewer.looking import SLIDE, Looking, corners
from pathai.viewer.thumbnails import small

EDGE, MARGIN, FRAME = 180, 14, 3
"""Longer edge of the map, its distance from the corner, and its frame, px of the screen."""
LEAST = 6.0
"""The mark of the view is never smaller than this, px of the screen."""


class Overview(QWidget):  # type: ignore[misc]
    """The map; a click or drag brings the place into the middle of the view.

    Parameters
    ----------
    looking : Looking
        Viewer of the slide.
    canvas : QWidget
        In whose top-right corner it lies.
    """

    def __init__(self, looking: Looking, canvas: QWidget) -> None:
        super().__init__(canvas)
        self.looking, self.canvas, self.wanted = looking, canvas, True
        self._pixels, self._layer = QPixmap(), None
        self._low, self._size = np.zeros(2), np.ones(2)
        self.setToolTip("The whole slide; a click goes there")
        self.setCursor(Qt.CursorShape.CrossCursor)
        self.hide()
        camera = looking.viewer.scene.camera.events
        self._events = (camera.zoom, camera.center)
        for event in self._events:
            event.connect(self._moved)
        looking.viewer.layers.events.removed.connect(self.refresh)
        canvas.installEventFilter(self)

    def refresh(self, _event: Any = None) -> None:
        """Show the slide that is in the viewer now, or nothing."""
        layer = self.looking.layer(SLIDE)
        if layer is not self._layer:
            self._layer = layer
            if layer is not None:
                self._show(layer)
        self.setVisible(layer is not None and self.wanted)

    def toggle(self) -> None:
        """Hide the map, or show it again."""
        self.wanted = not self.wanted
        self.refresh()

    def close_down(self) -> None:
        """Let go of the viewer."""
        for event in self._events:
            event.disconnect(self._moved)
        self.looking.viewer.layers.events.removed.disconnect(self.refresh)
        self.canvas.removeEventFilter(self)
        self.hide()
        self.deleteLater()

    def mark(self) -> QRectF:
        """Where the view lies on the map, px of the map."""
        camera, canvas = self.looking.viewer.scene.camera, self.looking.viewer.canvas
        extent = np.asarray(canvas.size, float) / float(camera.zoom)
        low = np.asarray(camera.center[-2:], float) - extent / 2
        scale = self._scale()
        y, x = (low - self._low) * scale
        height, width = np.maximum(extent * scale, LEAST)
        return QRectF(x + FRAME, y + FRAME, width, height)

    def world(self, place: QPointF) -> tuple[float, float]:
        """The (y, x) of the world at a place of the map."""
        found = self._low + (np.array([place.y(), place.x()]) - FRAME) / self._scale()
        found = np.clip(found, self._low, self._low + self._size)
        return float(found[0]), float(found[1])

    def _scale(self) -> Any:
        """Pixels of the map per unit of the world."""
        inner = np.array([self.height(), self.width()]) - 2 * FRAME
        return np.maximum(inner, 1) / self._size

    def _show(self, layer: Any) -> None:
        level = layer.data[-1] if layer.multiscale else layer.data
        picture = small(level, EDGE)
        height, width = picture.shape[:2]
        image = QImage(picture.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
        low, high = corners(layer)
        self._low, self._size = low, np.maximum(high - low, 1e-6)
        shape = EDGE * self._size / self._size.max()
        height, width = (max(round(float(v)), 24) for v in shape)
        self._pixels = QPixmap.fromImage(image)
        self.resize(width + 2 * FRAME, height + 2 * FRAME)
        self._place()
        self.raise_()
        self.update()

    def _place(self) -> None:
        self.move(max(self.canvas.width() - self.width() - MARGIN, 0), MARGIN)

    def _moved(self, _event: Any = None) -> None:
        if self.isVisible():
            self.update()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Stay in the corner when the canvas changes its size."""
        if event.type() == QEvent.Type.Resize:
            self._place()
        return False

    def paintEvent(self, event: QEvent) -> None:
        """Frame, slide, and the view as a rectangle that never vanishes."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor("#5a636e"))
        inner = self.rect().adjusted(FRAME, FRAME, -FRAME, -FRAME)
        painter.fillRect(inner, QColor("white"))
        painter.drawPixmap(inner, self._pixels)
        painter.setClipRect(inner)
        for color, width in (("white", 4), (palette.EVIDENCE, 2)):
            painter.setPen(QPen(QColor(color), width))
            painter.drawRect(self.mark())
        painter.end()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Go there."""
        self.looking.center_on(*self.world(event.position()))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Go along."""
        if event.buttons() & Qt.MouseButton.LeftButton:
            self.looking.center_on(*self.world(event.position()))
