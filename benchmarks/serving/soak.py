"""Eight threads of requests for ten minutes: does the memory of the process grow?

The threads share two rankers, one with ONNX Runtime and one with torch, and alternate between them.
Growth is measured after the first tenth of the time, when everything is loaded and warm.
"""

import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving.shop import BY, FOLDER, SIZES, make, read
from recmtl.serve import Ranker

THREADS, SAMPLES = 8, 120


def resident_mb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure(*, seconds: float, folder: Path = FOLDER) -> dict[str, Any]:
    """Serve for so many seconds; memory over time, and its growth after the first tenth."""
    size = next(iter(SIZES))
    if not (folder / size / "manifest.json").is_file():
        make(folder, [size])
    return serve(folder / size, read(folder), seconds=seconds)


def serve(
    bundle: Path, requests: list[tuple[dict[str, Any], Any]], *, seconds: float, by: str = BY
) -> dict[str, Any]:
    """Send requests from several threads and sample the memory of the process."""
    rankers = [Ranker.load(bundle, engine=engine) for engine in ("auto", "torch")]
    stop, counts, faults = threading.Event(), [0] * THREADS, list[str]()

    def ask(thread: int) -> None:
        number = thread
        while not stop.is_set():
            user, candidates = requests[number % len(requests)]
            try:
                rankers[counts[thread] % 2].rank_request(user, candidates, by, k=20)
            except Exception as fault:
                faults.append(f"{type(fault).__name__}: {fault}")
                return
            counts[thread] += 1
            number += THREADS

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    began, series = time.monotonic(), list[tuple[float, float]]()
    for sample in range(1, SAMPLES + 1):
        time.sleep(max(0.0, began + sample * seconds / SAMPLES - time.monotonic()))
        series.append((round(time.monotonic() - began, 4), round(resident_mb(), 1)))
    stop.set()
    for thread in threads:
        thread.join()
    warm = np.array(series[SAMPLES // 10 :])
    third = len(warm) // 3
    return {
        "seconds": seconds,
        "threads": THREADS,
        "engines": [ranker.scorer.engine for ranker in rankers],
        "requests": sum(counts),
        "faults": faults,
        "series_s_mb": series,
        "first_third_mb": float(np.median(warm[:third, 1])),
        "last_third_mb": float(np.median(warm[-third:, 1])),
        "mb_a_minute": _slope(warm),
        "mb_a_minute_last_third": _slope(warm[-third:]),
    }


def _slope(series: np.ndarray) -> float:
    """Slope, in megabytes a minute, of a line through samples of seconds and megabytes."""
    return float(np.polyfit(series[:, 0] / 60, series[:, 1], 1)[0])
