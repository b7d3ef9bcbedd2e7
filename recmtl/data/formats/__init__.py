"""Files of other formats than Parquet: typed and converted once, so that all else reads Parquet.

`file_format` says what a file is by its name; `text_layout` how a text file is laid out;
`text_rows` streams it; `value_types` decides what its columns hold, for the whole data set; and
`converted` keeps the Parquet file that is read in its place.
"""
