"""The main job: prepare, search, train, evaluate, bundle, score, rank, report; all tracked."""
