"""Images and their targets as the owners of the data sets publish them: one reader per layout."""

from recmtl.vision.data.examples import Example, ImageSet, ImageSplit, ImageTask
from recmtl.vision.data.registry import READERS, open_images

__all__ = ["READERS", "Example", "ImageSet", "ImageSplit", "ImageTask", "open_images"]
