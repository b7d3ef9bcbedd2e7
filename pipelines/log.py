"""Log what a job has left in its output folder: to a tracker that was down, full, or is another.

python pipelines/log.py --out RUN [--data PARQUET]

The tracker is the one that MLFLOW_TRACKING_URI names, or the store of the working folder. Runs,
parameters, metrics, artifacts and the model become what they would have become at once; what the
tracker has already is left as it is, so that the command may be repeated.

Exit status: 0, all is logged; 2, an error, explained in one line.
"""

from recmtl.interrupts import answer_signals, leave

if __name__ == "__main__":
    answer_signals()  # before what takes seconds to import

from recmtl.job.log_later import log_folder

if __name__ == "__main__":
    leave(log_folder())
