"""Images and their targets as the owners of the data sets publish them, one reader a layout."""
