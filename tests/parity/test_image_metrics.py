"""The metrics of images a second time, plainly: the whole set at once, in numpy and float64."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from recmtl.vision.data.examples import ImageTask, Kind
from recmtl.vision.metrics import higher_is_better, make_meter, primary_metric

SIZES = (4, 3, 1)  # unequal batches, so that the three ways of weighing differ
H, W, CLASSES = 6, 5, 4
Array = np.ndarray
Batches = list[tuple[Array, Array]]


def some_batches(kind: Kind, seed: int = 0) -> Batches:
    """Predictions and targets with a fifth of the targets unknown; some class never right."""
    random = np.random.default_rng(seed)
    found = []
    for size in SIZES:
        if kind == "classification":
            target = random.integers(-1, CLASSES, size)
            found.append((random.normal(size=(size, CLASSES)), target))
        elif kind == "segmentation":
            target = random.integers(-1, CLASSES - 1, (size, H, W))
            logits = random.normal(size=(size, CLASSES, H, W))
            logits[:, 1] = -9  # class 1 occurs and is never predicted; class 3 the other way round
            found.append((logits, target))
        elif kind == "multilabel":
            target = random.integers(0, 2, (size, CLASSES)).astype(float)
            found.append((random.normal(size=target.shape), unknown(target, random, target.shape)))
        else:
            channels = {"depth": 1, "normals": 3}.get(kind, 2)
            shape = (size, channels, H, W)
            target = random.uniform(0.5, 4, shape) if kind == "depth" else random.normal(size=shape)
            prediction = target + random.normal(size=shape)
            if kind == "normals":
                target = target / np.sqrt((target**2).sum(1, keepdims=True))
            hidden = (size, 1, H, W) if kind == "normals" else shape
            found.append((prediction, unknown(target, random, hidden)))
    return found


def unknown(target: Array, random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return np.where(random.random(shape) < 0.2, np.nan, target)


def metered(task: ImageTask, batches: Batches) -> dict[str, float]:
    meter = make_meter(task)
    for prediction, target in batches:
        meter.update(torch.from_numpy(prediction), torch.from_numpy(target))
    return meter.result()


def softmax_loss(logits: Array, classes: Array) -> Array:
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return -np.take_along_axis(log_p, classes[:, None], 1)[:, 0]


def plain_classification(batches: Batches) -> dict[str, float]:
    logits = np.concatenate([p for p, _ in batches])
    target = np.concatenate([t for _, t in batches])
    logits, target = logits[target >= 0], target[target >= 0]
    right = (logits.argmax(1) == target).mean()
    loss = softmax_loss(logits, target).mean()
    return {"accuracy": right, "error": 1 - right, "cross_entropy": loss}


def plain_multilabel(batches: Batches) -> dict[str, float]:
    said = np.concatenate([p for p, _ in batches]) > 0
    target = np.concatenate([t for _, t in batches])
    f1, accuracy = [], []
    for label in range(CLASSES):
        known = ~np.isnan(target[:, label])
        truth, claim = target[known, label] == 1, said[known, label]
        precision = (truth & claim).sum() / (claim.sum() + 1e-8)
        recall = (truth & claim).sum() / (truth.sum() + 1e-8)
        f1.append(2 * precision * recall / (precision + recall + 1e-8))
        accuracy.append((truth == claim).mean())
    mean = np.mean(accuracy)
    return {"f1": np.mean(f1), "accuracy": mean, "error": 1 - mean}


def plain_ious(truth: Array, claim: Array) -> list[float]:
    """Of every class, NaN where it is nowhere."""
    found = []
    for label in range(CLASSES):
        union = ((truth == label) | (claim == label)).sum()
        both = ((truth == label) & (claim == label)).sum()
        found.append(both / union if union else float("nan"))
    return found


def plain_segmentation(batches: Batches) -> dict[str, float]:
    images = [(p, t) for ps, ts in batches for p, t in zip(ps, ts, strict=True)]
    known = [t >= 0 for _, t in images]
    truths = [t[k] for (_, t), k in zip(images, known, strict=True)]
    logits = [p[:, k].T for (p, _), k in zip(images, known, strict=True)]
    claims = [p.argmax(1) for p in logits]
    truth, claim = np.concatenate(truths), np.concatenate(claims)
    ious = plain_ious(truth, claim)
    hit = [label for label in range(CLASSES) if ((truth == label) & (claim == label)).any()]
    pairs = list(zip(truths, claims, strict=True))
    by_batch = np.split(np.arange(len(images)), np.cumsum(SIZES)[:-1])
    rights, losses = [], []
    for batch in by_batch:
        true = np.concatenate([truths[i] for i in batch])
        rights.append((true == np.concatenate([claims[i] for i in batch])).mean())
        losses.append(softmax_loss(np.concatenate([logits[i] for i in batch]), true).mean())
    return {
        "miou": float(np.nanmean(ious)),
        "pixel_accuracy": (truth == claim).mean(),
        "cross_entropy": softmax_loss(np.concatenate(logits), truth).mean(),
        "legacy_survey_miou": float(np.nansum(ious)) / CLASSES,
        "legacy_adashare_miou": float(np.mean([ious[label] for label in hit])),
        "legacy_mtan_miou": np.mean([np.nanmean(plain_ious(*pair)) for pair in pairs]),
        "legacy_mtan_pixel_accuracy": np.mean([(t == c).mean() for t, c in pairs]),
        "legacy_adashare_pixel_accuracy": np.average(rights, weights=SIZES),
        "legacy_adashare_error": np.average(losses, weights=SIZES),
    }


def valid(batches: Batches) -> tuple[Array, Array]:
    """Predictions and targets of all valid values of the set."""
    p, t = (np.concatenate([b[k].ravel() for b in batches]) for k in range(2))
    return p[~np.isnan(t)], t[~np.isnan(t)]


def plain_depth(batches: Batches) -> dict[str, float]:
    def errors(p: Array, g: Array) -> tuple[float, float, float]:
        return np.abs(p - g).mean(), (np.abs(p - g) / g).mean(), ((p - g) ** 2 / g).mean()

    p, g = valid(batches)
    names = ("abs", "rel", "sq_rel")
    found = dict(zip(names, errors(p, g), strict=True))
    found["rmse"] = np.sqrt(((p - g) ** 2).mean())
    by_batch = np.array([errors(*valid([batch])) for batch in batches])
    for name, mean in zip(names, np.average(by_batch, axis=0, weights=SIZES), strict=True):
        found[f"legacy_libmtl_{name}"] = mean
    found["legacy_mtan_abs"], found["legacy_mtan_rel"] = by_batch.mean(0)[:2]
    for k in (1, 2, 3):
        found[f"legacy_adashare_delta{k}"] = (np.maximum(p / g, g / p) <= 1.25**k).mean()
        kept = np.maximum(p / g, g / np.where(p > 0, p, 1e-300)) < 1.25**k
        found[f"delta{k}"] = (kept & (p > 0)).mean()
    images = [[(p[i : i + 1], t[i : i + 1])] for p, t in batches for i in range(len(p))]
    roots = [np.sqrt(np.mean(np.subtract(*valid(image)) ** 2)) for image in images]
    return found | {"legacy_astmt_rmse": np.mean(roots)}


def plain_normals(batches: Batches) -> dict[str, float]:
    def angles(prediction: Array, target: Array, shift: float) -> Iterator[float]:
        for image in range(len(target)):
            for y in range(H):
                for x in range(W):
                    g = target[image, :, y, x]
                    # AdaShare: a code of 255 in any channel is not valid.
                    if np.isnan(g).any() or (shift and np.round((g.max() + 1) * 127.5) == 255):
                        continue
                    p = prediction[image, :, y, x]
                    p = p / np.linalg.norm(p) + shift
                    g = g + shift
                    cosine = p @ g / np.linalg.norm(p) / np.linalg.norm(g)
                    yield np.degrees(np.arccos(np.clip(cosine, -1, 1)))

    def statistics(e: Array, inside: Callable[[Array, float], Array]) -> dict[str, float]:
        found = {"mean": e.mean(), "median": np.median(e), "rmse": np.sqrt((e**2).mean())}
        return found | {f"within_{k:g}": inside(e, k).mean() for k in (11.25, 22.5, 30.0, 45.0)}

    by_batch = [np.array(list(angles(*batch, 0.0))) for batch in batches]
    codes = np.concatenate([np.array(list(angles(*batch, 1.0))) for batch in batches])
    found = statistics(np.concatenate(by_batch), np.less)
    means = [statistics(e, np.less) for e in by_batch]
    for name in found.copy():
        if name != "rmse":
            found[f"legacy_mtan_{name}"] = np.mean([mean[name] for mean in means])
    legacy = statistics(codes, np.less_equal)
    return found | {f"legacy_adashare_{name}": value for name, value in legacy.items()}


def plain_regression(batches: Batches) -> dict[str, float]:
    p, g = valid(batches)
    by_batch = [np.abs(np.subtract(*valid([batch]))).mean() for batch in batches]
    return {
        "abs": np.abs(p - g).mean(),
        "rmse": np.sqrt(((p - g) ** 2).mean()),
        "legacy_adashare_abs": np.average(by_batch, weights=SIZES),
    }


PLAIN: dict[Kind, Callable[[Batches], dict[str, float]]] = {
    "classification": plain_classification,
    "multilabel": plain_multilabel,
    "segmentation": plain_segmentation,
    "depth": plain_depth,
    "normals": plain_normals,
    "regression_map": plain_regression,
}


@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize("seed", range(3))
def test_meters_agree_with_the_plain_formulas(kind: Kind, seed: int) -> None:
    batches = some_batches(kind, seed)
    found, plain = metered(ImageTask("t", kind, CLASSES), batches), PLAIN[kind](batches)
    assert set(found) == set(plain)
    medians = {name for name in found if name.endswith("adashare_median") or name == "median"}
    exact = {name: value for name, value in plain.items() if name not in medians}
    assert {n: found[n] for n in exact} == pytest.approx(exact, rel=1e-7, abs=1e-12)
    assert {n: found[n] for n in medians} == pytest.approx(
        {n: plain[n] for n in medians}, abs=180 / 2**20
    )
    assert primary_metric(ImageTask("t", kind))[0] in found


@pytest.mark.parametrize("kind", PLAIN)
def test_pooled_metrics_do_not_see_the_batches(kind: Kind) -> None:
    batches = some_batches(kind)
    one = [tuple(np.concatenate([b[k] for b in batches]) for k in range(2))]
    task = ImageTask("t", kind, CLASSES)
    parts, whole = metered(task, batches), metered(task, one)  # type: ignore[arg-type]
    names = [name for name in parts if not name.startswith("legacy_")]
    assert {n: parts[n] for n in names} == pytest.approx({n: whole[n] for n in names})
    moved = {n for n in parts if parts[n] != pytest.approx(whole[n])}
    assert all(n.startswith("legacy_") for n in moved)
    expected = {"classification": False, "multilabel": False}
    assert bool(moved) is expected.get(kind, True)


def turned(normals: Array, degrees: float, random: np.random.Generator) -> Array:
    """Unit normals `[N, 3]`, each turned by that angle about some axis at right angles to it."""
    other = np.cross(normals, random.normal(size=normals.shape))
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    return normals * np.cos(np.radians(degrees)) + other * np.sin(np.radians(degrees))


@pytest.mark.parametrize("degrees", [10.0, 25.0, 40.0])
def test_true_angles_are_true_and_the_codes_show_about_half(degrees: float) -> None:
    random = np.random.default_rng(1)
    normals = random.normal(size=(4000, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    batch = (turned(normals, degrees, random).T[None, ..., None], normals.T[None, ..., None])
    found = metered(ImageTask("normals", "normals", 3), [batch])
    assert found["mean"] == pytest.approx(degrees, abs=1e-6)
    assert found["median"] == pytest.approx(degrees, abs=2e-4)
    assert 0.4 * degrees < found["legacy_adashare_mean"] < 0.7 * degrees


def test_the_length_of_a_predicted_normal_does_not_matter() -> None:
    batches = some_batches("normals")
    task = ImageTask("normals", "normals", 3)
    longer = [(7 * p, t) for p, t in batches]
    assert metered(task, longer) == pytest.approx(metered(task, batches))


def test_thresholds_are_strict_but_in_adashares_line() -> None:
    ones = np.ones((1, 1, 2, 2))
    found = metered(ImageTask("depth", "depth"), [(ones * 1.25, ones)])
    assert (found["delta1"], found["legacy_adashare_delta1"]) == (0.0, 1.0)
    negative = metered(ImageTask("depth", "depth"), [(-ones, ones)])
    assert (negative["delta1"], negative["legacy_adashare_delta1"]) == (0.0, 1.0)


@pytest.mark.parametrize("kind", PLAIN)
def test_without_a_known_target_every_metric_is_nan(kind: Kind) -> None:
    batches = some_batches(kind)
    for _, target in batches:
        target[...] = -1 if target.dtype == np.int64 else np.nan
    found = metered(ImageTask("t", kind, CLASSES), batches)
    fresh = make_meter(ImageTask("t", kind, CLASSES)).result()
    for result in (found, fresh):
        assert {name for name, value in result.items() if not np.isnan(value)} == set()


def test_class_weights_weigh_the_cross_entropy_alone() -> None:
    batches, weights = some_batches("segmentation"), (0.5, 1.0, 2.0, 4.0)
    plain = metered(ImageTask("s", "segmentation", CLASSES), batches)
    weighted = metered(ImageTask("s", "segmentation", CLASSES, weights), batches)
    losses = {"cross_entropy", "legacy_adashare_error"}
    assert {n for n in plain if plain[n] != pytest.approx(weighted[n])} == losses
    known = [(p.transpose(0, 2, 3, 1)[t >= 0], t[t >= 0]) for p, t in batches]
    logits, truth = (np.concatenate([k[i] for k in known]) for i in range(2))
    expected = (softmax_loss(logits, truth) * np.array(weights)[truth]).mean()
    assert weighted["cross_entropy"] == pytest.approx(expected)


def test_directions_of_every_metric() -> None:
    better = {
        name.removeprefix("legacy_").split("_", 1)[-1] if name.startswith("legacy_") else name
        for kind in PLAIN
        for name in make_meter(ImageTask("t", kind, CLASSES)).result()
        if higher_is_better(name)
    }
    shares = {f"within_{limit}" for limit in ("11.25", "22.5", "30", "45")}
    assert better == shares | {
        "accuracy",
        "f1",
        "miou",
        "pixel_accuracy",
        "delta1",
        "delta2",
        "delta3",
    }
    assert {kind: primary_metric(ImageTask("t", kind)) for kind in PLAIN} == {
        "classification": ("accuracy", True),
        "multilabel": ("f1", True),
        "segmentation": ("miou", True),
        "depth": ("abs", False),
        "normals": ("mean", False),
        "regression_map": ("abs", False),
    }
