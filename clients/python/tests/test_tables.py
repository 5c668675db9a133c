"""Tables of bars are exact where they say so."""

from __future__ import annotations

import builtins
from decimal import Decimal
from typing import Any

import pytest
from fake_gateway import bar

from klinecast import Bars
from klinecast.messages import parse_bar


def bars() -> Bars:
    return Bars([parse_bar(bar(position)) for position in range(3)])


def test_pandas_has_the_start_as_index_and_floats_or_decimals() -> None:
    pandas = pytest.importorskip("pandas")
    table = bars().to_df()
    assert str(table.index.dtype) == "datetime64[ns, UTC]" or "UTC" in str(table.index.dtype)
    assert table["open"].tolist() == [1.05] * 3
    assert pandas.isna(table["taker_buy_volume"]).all()
    assert bars().to_df(exact=True)["quote_volume"].tolist() == [Decimal("0.0571732")] * 3


def test_arrow_and_polars_keep_every_digit() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    table = bars().to_arrow()
    assert table["quote_volume"].to_pylist() == [Decimal("0.0571732")] * 3
    assert table["start"].type == pyarrow.timestamp("ms", tz="UTC")
    assert table["count"].null_count == 3
    polars = pytest.importorskip("polars")
    frame = bars().to_polars()
    assert frame["quote_volume"].to_list() == [Decimal("0.0571732")] * 3
    assert frame["start"].dtype == polars.Datetime("ms", "UTC")


def test_no_bars_are_an_empty_table() -> None:
    pytest.importorskip("pandas")
    assert len(Bars().to_df()) == 0


@pytest.mark.parametrize(
    "call, module, extra",
    [("to_df", "pandas", "pandas"), ("to_arrow", "pyarrow", "arrow"), ("to_polars", "polars", "polars")],
)
def test_a_missing_library_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, call: str, module: str, extra: str
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == module:
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=rf"pip install 'klinecast\[{extra}\]'"):
        getattr(bars(), call)()
