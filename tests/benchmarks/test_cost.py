from __future__ import annotations

import cost
from cost import Cell
from cost import cheaper
from cost import Market
import multi_objective
import numpy as np
import pytest

from tests.benchmarks.curve_sets import write_set
from tests.benchmarks.test_in_loop import run
from tests.benchmarks.test_in_loop import table


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("sets") / "tiny"
    write_set(path, seed=0)
    return path


CELL = Cell("machine", "random", (2, 4), 1)


def test_prices_span_a_factor_of_twenty_and_are_one_on_the_average(folder):
    market = Market(folder, "machine")
    low, high = market.range
    assert high / low == pytest.approx(20.0, rel=0.05)
    assert market.price({"machine": market.mean}) == pytest.approx(1.0)


def test_what_is_reached_for_half_the_money_is_twice_as_cheap():
    amounts = CELL.amounts
    # Three seeds of two sets; the miss falls with what is spent.
    reference = np.broadcast_to(100.0 / amounts, (2, 3, len(amounts)))
    assert cheaper(CELL, reference / 2.0, reference) == pytest.approx([2.0, 2.0], rel=0.05)
    assert cheaper(CELL, reference, reference) == pytest.approx([1.0, 1.0])
    assert np.isnan(cheaper(CELL, 2.0 * reference, reference)[-1])


def test_the_tables_have_a_row_for_each_pruner(monkeypatch, capsys, folder):
    arguments = ("--curves", folder.parent, "--sets", "tiny", "--seeds", 2, "--jobs", 1)
    only = (
        "--prices",
        "machine",
        "--pruners",
        "none",
        "ours",
        "ours_cost",
        "--samplers",
        "random",
    )
    output = run(monkeypatch, capsys, cost, *arguments, *only, "--budgets", 2, 3, "--every", 4)
    rows = table(output, "random search, prices: machine, 1 sets")
    assert [row[0] for row in rows] == ["no pruning", "ours, by steps", "**ours, by cost**"]
    assert all(len(row) == 6 for row in rows)


def test_the_table_of_hypervolumes_compares_with_twice_the_steps(monkeypatch, capsys, folder):
    monkeypatch.setattr(multi_objective, "BUDGETS", (2, 3))
    arguments = ("--curves", folder.parent, "--sets", "tiny", "--seeds", 2, "--jobs", 1)
    output = run(
        monkeypatch,
        capsys,
        multi_objective,
        *arguments,
        "--prices",
        "size",
        "--samplers",
        "nsgaii",
    )
    unpruned, doubled, ours, _ = table(output, "NSGA-II, price: size, 1 sets")
    found = [float(row[2].split()[0]) for row in (unpruned, doubled, ours)]
    assert 0.0 <= found[0] <= found[1]
    assert found[2] >= 0.0
