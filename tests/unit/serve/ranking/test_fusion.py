"""Fusing finds planted exponents, tells the truth about its formula, and keeps what trades off."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from recmtl.data.encoded_log import NO_GROUP
from recmtl.errors import ConfigError, DataError
from recmtl.evaluate.ranking_metrics import ranking_metrics
from recmtl.serve import Formula, Ranker, Scorer
from recmtl.serve.ranking.fusion import FusionResult, fuse, non_dominated

ROWS, GROUPS = 4000, 200


def columns(seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "p_click": random.beta(2, 5, ROWS).astype(np.float32),
        "p_buy": random.beta(1, 8, ROWS).astype(np.float32) + np.float32(1e-4),
        "price": random.lognormal(3.0, 1.0, ROWS),
    }


def groups() -> np.ndarray:
    return np.arange(ROWS) % GROUPS


def planted(exponents: tuple[float, float, float]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Columns, and grades 0 to 4 that rise with the product of their powers."""
    factors = columns()
    product = sum(e * np.log(v) for e, v in zip(exponents, factors.values(), strict=True))
    cuts = np.quantile(product, (0.5, 0.7, 0.85, 0.95))
    return factors, np.digitize(product, cuts).astype(float)


@pytest.mark.parametrize(
    "exponents", [(1.0, 0.5, 0.0), (0.3, 1.0, 0.6), (1.0, 0.4, -0.5), (0.0, 0.0, 1.0)]
)
def test_planted_exponents_are_found_up_to_their_scale(exponents) -> None:
    factors, grade = planted(exponents)
    fusion = fuse(factors, {"grade": grade}, target={"grade": 1.0}, group=groups(), k=10)
    learned = np.array(list(fusion.best.exponents.values()))
    assert np.abs(learned).max() == 1.0
    np.testing.assert_allclose(learned, exponents, atol=0.05)
    assert fusion.best.target > 0.998
    assert fusion.best.target > fusion.product.target or exponents == (1.0, 1.0, 1.0)


def both_labels() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A click that follows p_click and a purchase that follows price: no order suits both."""
    random = np.random.default_rng(1)
    factors = columns()
    click = random.random(ROWS) < factors["p_click"]
    buy = random.random(ROWS) < np.clip(factors["price"] / 200, 0, 1)
    return factors, {"click": click, "buy": buy}


def test_rows_without_a_group_are_left_out() -> None:
    factors, labels = both_labels()
    alone = np.arange(ROWS) % 3 == 0
    group = np.where(alone, NO_GROUP, groups())
    settings = {"target": {"click": 1, "buy": 2}, "k": 5, "tries": 5}
    fused = fuse(factors, labels, group=group, **settings)
    parts = ({name: values[~alone] for name, values in some.items()} for some in (factors, labels))
    assert fused == fuse(*parts, group=groups()[~alone], **settings)
    with pytest.raises(DataError, match="no row has a group, so that nothing can be ranked"):
        fuse(factors, labels, group=np.full(ROWS, NO_GROUP), **settings)


@pytest.fixture(scope="module")
def traded() -> FusionResult:
    factors, labels = both_labels()
    return fuse(factors, labels, target={"click": 1, "buy": 2}, group=groups(), k=5)


def test_the_reported_ndcg_is_that_of_the_formula(traded: FusionResult) -> None:
    factors, labels = both_labels()
    gain = labels["click"] + 2.0 * labels["buy"]
    for fused in (traded.best, traded.product, *traded.front):
        scores = Formula(fused.formula).evaluate(factors, rows=ROWS)
        for name, label in labels.items():
            ndcg = ranking_metrics(label, scores, groups(), k=5)["ndcg"]
            assert fused.ndcg[name] == pytest.approx(ndcg, abs=1e-12)
        assert fused.target == pytest.approx(ranking_metrics(gain, scores, groups(), k=5)["ndcg"])
    assert traded.formula == traded.best.formula


def test_the_front_trades_one_label_for_the_other(traded: FusionResult) -> None:
    click = [fused.ndcg["click"] for fused in traded.front]
    buy = [fused.ndcg["buy"] for fused in traded.front]
    assert len(traded.front) > 3
    assert (np.diff(click) < 0).all() and (np.diff(buy) > 0).all()
    factors, labels = both_labels()
    for name, value in (("click", click[0]), ("buy", buy[-1])):
        goal = {other: float(other == name) for other in labels}
        alone = fuse(factors, labels, target=goal, group=groups(), k=5)
        assert alone.best.target == pytest.approx(value, abs=0.01)
    assert max(fused.target for fused in traded.front) <= traded.best.target
    assert traded.best.target > traded.product.target


@given(
    arrays.arrays(
        np.float64,
        st.tuples(st.integers(1, 12), st.integers(1, 3)),
        elements=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    )
)
def test_the_front_is_what_a_plain_loop_says(values) -> None:
    def beats(a, b) -> bool:
        return all(x >= y for x, y in zip(a, b, strict=True)) and tuple(a) != tuple(b)

    rows = [tuple(row) for row in values]
    expected = [
        not any(beats(other, row) for other in rows) and row not in rows[:number]
        for number, row in enumerate(rows)
    ]
    assert non_dominated(values).tolist() == expected


def test_the_same_seed_finds_the_same_formula(traded: FusionResult) -> None:
    factors, labels = both_labels()
    again = fuse(factors, labels, target={"click": 1, "buy": 2}, group=groups(), k=5)
    assert again == traded


def test_columns_that_may_be_zero_are_guarded_in_the_formula() -> None:
    factors, grade = planted((1.0, -0.5, 0.6))
    factors["list price, $"] = factors.pop("price")
    fusion = fuse(factors, {"grade": grade}, target={"grade": 1.0}, group=groups(), k=10)
    assert "p_click * max(p_buy, 1e-9) ** -" in fusion.formula
    assert "max(`list price, $`, 1e-9) ** 0." in fusion.formula
    empty = {name: np.zeros(3) for name in factors}
    assert np.isfinite(Formula(fusion.formula).evaluate(empty, rows=3)).all()


def test_a_useless_column_is_worth_nothing_where_labels_say_so() -> None:
    """With one candidate a group every order is the best."""
    factors, grade = planted((1.0, 0.5, 0.0))
    alone = fuse(factors, {"grade": grade + 1}, target={"grade": 1.0}, group=np.arange(ROWS), k=1)
    assert alone.best.target == alone.product.target == 1.0


def test_lines_and_table_are_for_people(traded: FusionResult) -> None:
    table = traded.table()
    assert table.column_names == ["formula", "target", "ndcg_click", "ndcg_buy"]
    assert table.num_rows == len(traded.front)
    lines = str(traded).splitlines()
    assert lines[0] == f"NDCG at 5, {traded.tried} formulas tried"
    assert traded.formula in lines[1] and "p_click * p_buy * max(price, 1e-9)" in lines[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, ls, t: c.clear(), "at least one column"),
        (lambda c, ls, t: t.update(click=0, buy=0), "a weight above 0"),
        (
            lambda c, ls, t: t.update(click=-1.0),
            "weight of label 'click' is -1.0; give a number of 0 or",
        ),
        (lambda c, ls, t: t.update(clik=1.0), "the target weighs click, buy, clik but"),
        (lambda c, ls, t: c.update(price=c["price"][:-1]), "differ in length"),
        (lambda c, ls, t: c.update(price=c["price"] * np.nan), "column 'price' has values that"),
        (lambda c, ls, t: c.update(price=np.full(ROWS, "x")), "column 'price' has values that"),
        (lambda c, ls, t: ls.update(buy=-1.0 * ls["buy"]), "label 'buy' is negative"),
        (lambda c, ls, t: ls.update(buy=0.0 * ls["buy"]), "buy is 0 on every row, so no order"),
    ],
)
def test_what_cannot_be_fused_is_refused(change, message) -> None:
    factors, labels = both_labels()
    target = {"click": 1.0, "buy": 2.0}
    change(factors, labels, target)
    with pytest.raises(DataError, match=message):
        fuse(factors, labels, target=target, group=groups())


def test_a_ranker_fuses_its_own_scores_with_columns_of_the_frame(
    scorer: Scorer, log: pa.Table
) -> None:
    ranker = Ranker(scorer)
    fusion = ranker.fuse(log, {"clicked": 1, "bought": 5}, group="request", k=3)
    assert list(fusion.best.exponents) == ["p_click", "p_buy_given_click"]
    ranked = ranker.rank(log.to_pandas(), by=fusion.formula, group="request")
    gain = ranked["clicked"] + 5 * ranked["bought"]
    metrics = ranking_metrics(
        gain.to_numpy(), ranked["rank_score"].to_numpy(), ranked["request"].to_numpy(), k=3
    )
    assert metrics["ndcg"] == pytest.approx(fusion.best.target, abs=1e-12)
    request = pa.array([None if i % 2 else v for i, v in enumerate(log["request"].to_pylist())])
    halved = log.set_column(log.column_names.index("request"), "request", request)
    half = log.take(pa.array(range(0, len(log), 2)))
    parts = [
        ranker.fuse(rows, {"clicked": 1, "bought": 5}, group="request", k=3)
        for rows in (halved, half)
    ]
    assert parts[0] == parts[1]
    with_age = ranker.fuse(log, {"bought": 1}, group="request", columns=["p_click", "age"])
    assert list(with_age.best.exponents) == ["p_click", "age"]
    with pytest.raises(DataError, match="column 'price' has values that are missing"):
        ranker.fuse(log, {"bought": 1}, group="request", columns=["price"])
    with pytest.raises(DataError, match="no column 'bougt'; did you mean 'bought'"):
        ranker.fuse(log, {"bougt": 1}, group="request")


def small_problem(seed: int) -> tuple[dict, dict, np.ndarray]:
    """Two factors and two labels of 240 rows in 24 groups."""
    random = np.random.default_rng(seed)
    factors = {"p": random.uniform(0.05, 0.95, 240), "q": random.uniform(0.05, 0.95, 240)}
    labels = {"click": (random.random(240) < factors["p"]).astype(float)}
    labels["buy"] = np.round(3 * factors["q"] ** 2 * random.random(240))
    return factors, labels, random.permutation(np.arange(240) % 24)


def learn(factors: dict, labels: dict, group: np.ndarray, **options) -> FusionResult:
    weights = {"click": 1.0, "buy": 2.0}
    return fuse(factors, labels, group=group, **{"target": weights, "tries": 15, "k": 5} | options)


@pytest.mark.parametrize("seed", range(4))
def test_random_planted_exponents_of_either_sign_are_recovered(seed: int) -> None:
    exponents = np.random.default_rng(seed).uniform(-1.0, 1.0, 3)
    exponents /= np.abs(exponents).max()
    factors, grade = planted(tuple(exponents))
    fusion = fuse(factors, {"grade": grade}, target={"grade": 1.0}, group=groups(), k=10)
    learned = np.array(list(fusion.best.exponents.values()))
    np.testing.assert_allclose(learned, exponents, atol=0.06)
    assert fusion.best.target > 0.995


@pytest.mark.parametrize("seed", range(3))
def test_no_formula_of_the_front_is_dominated_and_the_best_is_never_beaten(seed: int) -> None:
    fusion = learn(*small_problem(seed))
    front = [tuple(fused.ndcg.values()) for fused in fusion.front]
    for values, others in itertools.permutations(front, 2):
        assert any(a > b for a, b in zip(values, others, strict=True))
    measured = [fusion.best, fusion.product, *fusion.front]
    assert max(fused.target for fused in measured) == fusion.best.target
    for fused in (fusion.best, fusion.product):
        values = tuple(fused.ndcg.values())
        assert any(all(a >= b for a, b in zip(row, values, strict=True)) for row in front)


@pytest.mark.parametrize("seed", range(3))
def test_the_best_is_at_least_as_good_as_each_factor_alone_and_as_the_product(seed: int) -> None:
    factors, labels, group = small_problem(seed)
    gain = labels["click"] + 2.0 * labels["buy"]
    best = learn(factors, labels, group, tries=0).best.target
    for scores in (*factors.values(), factors["p"] * factors["q"]):
        assert best >= ranking_metrics(gain, scores, group, k=5)["ndcg"] - 1e-12


@pytest.mark.parametrize("scale", [0.25, 8.0])
def test_only_the_ratio_of_the_weights_counts(scale: float) -> None:
    problem = small_problem(1)
    scaled = learn(*problem, target={"click": scale, "buy": 2.0 * scale})
    assert scaled == learn(*problem)


def test_the_unit_of_a_label_is_its_weight() -> None:
    factors, labels, group = small_problem(2)
    cents = labels | {"buy": 4.0 * labels["buy"]}
    assert learn(factors, cents, group, target={"click": 1.0, "buy": 0.5}) == learn(
        factors, labels, group
    )


def test_names_of_groups_and_the_order_of_the_rows_do_not_count() -> None:
    factors, labels, group = small_problem(3)
    order = np.random.default_rng(0).permutation(240)
    shuffled = [{name: v[order] for name, v in columns.items()} for columns in (factors, labels)]
    plain, moved = learn(factors, labels, group), learn(*shuffled, group[order])
    renamed = learn(factors, labels, np.array([f"user {23 - g:02d}" for g in group]))
    for other in (moved, renamed):
        assert other.best.exponents == plain.best.exponents
        assert other.best.target == pytest.approx(plain.best.target, abs=1e-12)


def test_a_label_of_weight_zero_is_reported_and_does_not_steer() -> None:
    factors, labels, group = small_problem(4)
    alone = learn(factors, {"click": labels["click"]}, group, target={"click": 1.0})
    watched = learn(factors, labels, group, target={"click": 1.0, "buy": 0.0})
    assert watched.best.target == alone.best.target == watched.best.ndcg["click"]
    assert set(watched.best.ndcg) == {"click", "buy"}
    assert set(alone.best.ndcg) == {"click"}


def test_exponents_come_in_their_standard_form() -> None:
    fusion = learn(*small_problem(6))
    for fused in (fusion.best, *fusion.front):
        exponents = np.array(list(fused.exponents.values()))
        assert np.abs(exponents).max() == 1.0
        np.testing.assert_array_equal(np.round(exponents, 3), exponents)
        mentioned = Formula(fused.formula).names
        assert mentioned == tuple(name for name, e in fused.exponents.items() if e != 0.0)


def test_one_factor_is_used_upright_or_upside_down() -> None:
    factors, labels, group = small_problem(7)
    falling = {"p": 1.0 - factors["p"]}
    for columns, exponent in (({"p": factors["p"]}, 1.0), (falling, -1.0)):
        fusion = learn(columns, {"click": labels["click"]}, group, target={"click": 1.0})
        assert fusion.best.exponents == {"p": exponent}
        assert fusion.tried == 2


def test_groups_that_do_not_pair_with_the_rows_are_refused() -> None:
    factors, labels, group = small_problem(0)
    with pytest.raises(DataError, match="there are 239 groups for the rows"):
        learn(factors, labels, group[1:])
    with pytest.raises(DataError, match=r"group is .* give one value a row"):
        learn(factors, labels, group.reshape(24, 10))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("k", 0),
        ("k", 2.5),
        ("k", True),
        ("tries", -1),
        ("tries", 10**7),
        ("seed", -1),
        ("seed", "1"),
    ],
)
def test_numbers_out_of_bounds_are_refused(option: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{option} is .*; give a whole number"):
        learn(*small_problem(0), **{option: value})
