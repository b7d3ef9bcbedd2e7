"""The section on experts: every warning is told, every curve drawn and named in words."""

import re

from recmtl.report.sections.experts import health as health_section

TITLES = [
    "Use of the experts of layer 1, the 8 least used",
    "Use of the experts of layer 2",
    "Entropy of the gates",
    "Similarity of the two most similar experts",
    "Dead units of the worst expert",
    "Drift of the gates",
]


def titles(markup):
    return re.findall("<h3>(.*?)</h3>", markup)


def test_warnings_and_curves_are_shown(health):
    markup = health_section(health).markup
    assert titles(markup) == TITLES
    assert markup.count("<img ") == len(TITLES)
    for sentence in health["warnings"]:
        assert f"<li>{sentence}</li>" in markup
    assert "more than 95%" in markup


def test_alternative_texts_say_the_last_numbers(health):
    alts = re.findall('alt="(.*?)"', health_section(health).markup)
    last = health["checks"][-1]
    layer_1 = {f"1.{e}": max(row[e] for row in last["use"]) for e in range(9)}
    most_used = max(layer_1, key=layer_1.get)
    told = [f"{name} {share:.2f}" for name, share in layer_1.items() if name != most_used]
    assert alts[0] == f"{TITLES[0]}, at the last check: {', '.join(told)}"
    assert "click 0.40, purchase 0.80" in alts[2]
    assert "watch_time" not in alts[2]  # it has no gate
    assert "layer 1 0.55, layer 2 0.55" in alts[3]
    assert f"layer 1 {max(last['dead'][:9]):.2f}" in alts[4]
    assert f"click {last['drift'][0]:.2f}" in alts[5]


def test_a_healthy_network_is_called_so(health):
    markup = health_section({**health, "warnings": []}).markup
    assert "No expert is collapsed, starved, dead or a copy of another." in markup
    assert "<li>" not in markup


def test_names_of_users_are_escaped(health):
    evil = "<img src=x>"
    record = {**health, "tasks": [evil, *health["tasks"][1:]], "warnings": [f"{evil} is dead"]}
    assert evil not in health_section(record).markup


def test_one_check_has_no_drift_and_one_expert_no_choice(health):
    check = {**health["checks"][0], "use": [[1.0]] * 5, "similarity": [[[1.0]]], "dead": [0.0]}
    check["entropy"] = [None] * 5
    record = {**health, "experts": ["1.0"], "checks": [check]}
    assert titles(health_section(record).markup) == ["Dead units of the worst expert"]


def test_nothing_measured_is_left_out():
    assert health_section({}) is None
