"""What users had watched before the log of KuaiRand-Pure, counted by video, author, music and tag.

    python -m benchmarks.board.video_history DATA OUT

DATA is the folder of the log. OUT gets links to its files and a side table `video_history.parquet`,
which `datasets/kuairand_pure/schema_history.yaml` joins. All that is counted lies before the first
day of the log, so that no row of it can leak.
"""

import sys
from pathlib import Path

import pandas as pd

__all__ = ["counted", "write"]

LISTS = {
    "watched": "watch_seq",
    "watched_long": "long_watch_seq",
    "liked": "like_seq",
}
"""Event -> the list of videos of a user with which it happened."""
KEYS = ("video_id", "author_id", "music_id", "tag")
PRIOR = 20.0
"""Events of the mean rate that are added to those of a key."""
LINKED = ("log_0425_0430", "user_features", "user_history_until_0424", "video_features_basic")


def counted(users: pd.DataFrame, videos: pd.DataFrame) -> pd.DataFrame:
    """For each video and what it belongs to how often it was watched, and its smoothed rates.

    Args:
        users: `watch_seq`, `long_watch_seq` and `like_seq`, a row a user.
        videos: `video_id`, `author_id`, `music_id` and `tag`, a row a video.

    Returns:
        A row a video: `<key>_watched` and, as shares of these, `<key>_watched_long_rate` and
        `<key>_liked_rate`.
    """
    events = {event: users[column].explode().value_counts() for event, column in LISTS.items()}
    counts = pd.DataFrame(events).reindex(videos["video_id"]).fillna(0.0).reset_index(drop=True)
    mean = counts.sum() / counts["watched"].sum()
    columns = {"video_id": videos["video_id"].to_numpy()}
    for key in KEYS:
        of_key = counts.groupby(videos[key].to_numpy(), dropna=False).transform("sum")
        name, watched = key.removesuffix("_id"), of_key["watched"]
        columns[f"{name}_watched"] = watched.to_numpy()
        for event in ("watched_long", "liked"):
            rate = (of_key[event] + PRIOR * mean[event]) / (watched + PRIOR)
            columns[f"{name}_{event}_rate"] = rate.to_numpy()
    return pd.DataFrame(columns)


def write(data: Path, out: Path) -> None:
    """Write the side table, beside links to the files of the log."""
    out.mkdir(parents=True, exist_ok=True)
    for name in LINKED:
        link = out / f"{name}.parquet"
        link.unlink(missing_ok=True)
        link.symlink_to((data / f"{name}.parquet").resolve())
    users = pd.read_parquet(data / "user_history_until_0424.parquet")
    videos = pd.read_parquet(data / "video_features_basic.parquet")
    counted(users, videos).to_parquet(out / "video_history.parquet")


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
