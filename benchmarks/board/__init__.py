"""The board: every arm on every log, and the training of two other libraries beside ours."""
