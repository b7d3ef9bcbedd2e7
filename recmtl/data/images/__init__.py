"""Images and their targets as the owners of the data sets publish them, one reader a layout."""

from recmtl.data.images.examples import Example, ImageSet, ImageSplit, ImageTask
from recmtl.data.images.options import READERS, open_images

__all__ = ["READERS", "Example", "ImageSet", "ImageSplit", "ImageTask", "open_images"]
