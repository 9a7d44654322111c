"""The review window: a napari plugin over ``pathai.review``.

Nothing is imported here, so that napari can read the manifest without loading anything.
"""
