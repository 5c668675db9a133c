"""The example strategy: what it decides does not depend on where its bars come from."""

from __future__ import annotations

import json
import random
import runpy
import sys
import xml.etree.ElementTree as ElementTree
from decimal import Decimal
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

import pytest
from fake_gateway import bar as bar_message

from klinecast import Bar
from klinecast.messages import parse_bar

EXAMPLES = Path(__file__).parent.parent / "examples"
#: The program in Rust has to decide alike: loadtest/tests/strategy.rs.
EXPECTED = json.loads((Path(__file__).parent / "crossing.json").read_text(encoding="utf-8"))


@pytest.fixture(name="example")
def fixture_example(monkeypatch: pytest.MonkeyPatch) -> Dict[str, Any]:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return runpy.run_path(str(EXAMPLES / "crossing.py"))


def prices(count: int) -> Iterator[str]:
    """A walk of prices that is the same in every language."""
    state, cents = 1, 6_000_000
    for _ in range(count):
        state = (state * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % 2**64
        cents += (state >> 33) % 2_001 - 1_000
        yield f"{cents // 100}.{cents % 100:02}"


def bars(count: int) -> List[Bar]:
    walk = list(prices(count))
    return [
        parse_bar({**bar_message(at), "open": walk[max(0, at - 1)], "close": close})
        for at, close in enumerate(walk)
    ]


def play(example: Dict[str, Any], stream: List[Bar]) -> Tuple[List[Tuple[int, Optional[str]]], Any]:
    run = example["Run"](example["Crossing"](), sys.modules["paper.account"].Account())
    decisions = [(bar.start_ms, run.take(bar)) for bar in stream]
    return [each for each in decisions if each[1] is not None], run


def test_the_strategy_decides_as_the_program_in_rust(example: Dict[str, Any]) -> None:
    decisions, run = play(example, bars(500))
    told = [[(at - bars(1)[0].start_ms) // 1000, side] for at, side in decisions]
    assert told == EXPECTED["decisions"]
    assert str(run.account.equity[-1][1]) == EXPECTED["worth"]
    assert len(run.account.fills) == EXPECTED["trades"]


def test_forming_bars_revisions_and_repeated_bars_change_no_decision(example: Dict[str, Any]) -> None:
    plain = bars(400)
    expected, quiet = play(example, plain)
    assert len(expected) > 10
    for seed in range(20):
        chance = random.Random(seed)
        noisy: List[Bar] = []
        for at, bar in enumerate(plain):
            fields = dict(bar.__dict__)
            noisy += [Bar(**{**fields, "state": "forming", "close": Decimal(1)})] * chance.choice([0, 2])
            noisy.append(bar)
            if chance.random() < 0.2:
                old = plain[max(0, at - chance.randrange(5))].__dict__
                noisy.append(Bar(**{**old, "rev": 1, "close": Decimal(1)}))
            if chance.random() < 0.1:
                noisy.append(bar)
        decisions, run = play(example, noisy)
        assert decisions == expected, seed
        assert run.account.equity == quiet.account.equity
        assert run.revised > 0


def test_a_decision_is_carried_out_at_the_next_open_and_never_before(example: Dict[str, Any]) -> None:
    stream = bars(300)
    decisions, run = play(example, stream)
    by_start = {bar.start_ms: bar for bar in stream}
    decided = dict(decisions)
    assert len(run.account.fills) > 10
    for fill in run.account.fills:
        assert decided[fill.start_ms - 1000] == fill.side
        assert fill.price == by_start[fill.start_ms].open
    # A round trip at one price costs the two fees, and no more than a rounding.
    account = sys.modules["paper.account"].Account()
    flat = [Bar(**{**bar.__dict__, "open": Decimal(5), "close": Decimal(5)}) for bar in stream[:3]]
    for bar, decision in zip(flat, ("buy", "sell", None)):
        account.take(bar, decision)
    expected = Decimal(10_000) / Decimal("1.001") * Decimal("0.999")
    assert abs(account.equity[-1][1] - expected) < Decimal("0.0001")
    assert account.drawdown_percent == Decimal("0.20")


def test_the_report_has_each_trade_and_a_picture_of_the_worth(
    example: Dict[str, Any], tmp_path: Path
) -> None:
    _, run = play(example, bars(2_000))
    example["write"](tmp_path / "out", run.account, run.revised)
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["bars"] == 2_000
    assert [trade["side"] for trade in report["trades"]] == [fill.side for fill in run.account.fills]
    assert report["worth"] == str(run.account.equity[-1][1])
    space = "{http://www.w3.org/2000/svg}"
    picture = ElementTree.parse(tmp_path / "out" / "equity.svg").getroot()
    line = picture.find(f"{space}polyline")
    assert line is not None
    points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
    assert 300 < len(points) < 500
    assert all(0 <= x <= 800 and 0 <= y <= 300 for x, y in points)
    # The highest worth is drawn highest.
    worths = [worth for _, worth in run.account.equity[:: 2_000 // 400]] + [run.account.equity[-1][1]]
    assert points[worths.index(max(worths))][1] == min(y for _, y in points)


def test_a_run_without_bars_has_a_report(example: Dict[str, Any], tmp_path: Path) -> None:
    _, run = play(example, [])
    example["write"](tmp_path, run.account, 0)
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["trades"] == []
    ElementTree.parse(tmp_path / "equity.svg")
