"""What users watched before the log is counted by hand for a few videos."""

from pathlib import Path

import pandas as pd
import pytest

from benchmarks.board.video_history import LINKED, counted, write

USERS = pd.DataFrame(
    {
        "watch_seq": [[1, 1, 2], [1, 9], None],
        "long_watch_seq": [[1], [1], []],
        "like_seq": [[2], None, []],
    }
)
VIDEOS = pd.DataFrame(
    {
        "video_id": [1, 2, 3],
        "author_id": ["a", "a", "b"],
        "music_id": [7.0, None, None],
        "tag": ["x", "y", "y"],
    }
)


def test_a_video_nobody_watched_has_the_mean_rates() -> None:
    table = counted(USERS, VIDEOS).set_index("video_id")
    assert table["video_watched"].to_dict() == {1: 3, 2: 1, 3: 0}
    assert table["author_watched"].to_dict() == {1: 4, 2: 4, 3: 0}
    long, liked = 2 / 4, 1 / 4  # of what was watched, video 9 being of no author
    assert table.loc[3, "video_watched_long_rate"] == pytest.approx(long)
    assert table.loc[1, "video_watched_long_rate"] == pytest.approx((2 + 20 * long) / (3 + 20))
    assert table.loc[2, "author_liked_rate"] == pytest.approx((1 + 20 * liked) / (4 + 20))
    assert table.loc[2, "music_watched"] == 1, "videos without music are a group"


def test_the_folder_has_the_files_of_the_log_and_the_side_table(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    for name in LINKED:
        (USERS if "history" in name else VIDEOS).to_parquet(data / f"{name}.parquet")
    write(data, out)
    write(data, out)
    assert sorted(path.stem for path in out.iterdir()) == sorted([*LINKED, "video_history"])
    assert len(pd.read_parquet(out / "video_history.parquet")) == 3
