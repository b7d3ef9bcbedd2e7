"""What a schema says of a log that grows every day: which rows are kept, what is watched."""
