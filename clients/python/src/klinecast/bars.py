"""Bars of the past, and tables of them."""

# pandas and pyarrow have no types of their own.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownParameterType=false

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Dict, List, Optional

from .messages import Bar

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

_TEXTS = ("exchange", "symbol", "interval", "state", "quality", "first_id", "last_id")
_PRICES = (
    "open",
    "high",
    "low",
    "close",
    "volume",
    "quote_volume",
    "taker_buy_volume",
    "taker_buy_quote_volume",
)


class Bars(List[Bar]):
    """A list of bars, the oldest first, that can become a table."""

    def __init__(self, bars: Any = (), token: Optional[str] = None) -> None:
        super().__init__(bars)
        #: Where a subscription goes on after the newest of these bars.
        self.token = token

    def columns(self) -> Dict[str, List[Any]]:
        """Return the bars as columns: times in unix milliseconds, exact decimals."""
        names = ("start_ms", "end_ms") + _PRICES + ("count", "rev") + _TEXTS
        return {name: [getattr(bar, name) for bar in self] for name in names}

    def to_df(self, *, exact: bool = False) -> "pandas.DataFrame":
        """Return a table of pandas, with the start in UTC as index.

        Args:
            exact: keep prices as `decimal.Decimal`. Without it they are floats, which are faster
                and round.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise ImportError(_hint("to_df()", "pandas")) from None
        columns = self.columns()
        if not exact:
            for name in _PRICES:
                columns[name] = [_float(value) for value in columns[name]]
        start = pandas.to_datetime(columns.pop("start_ms"), unit="ms", utc=True)
        columns["end"] = list(pandas.to_datetime(columns.pop("end_ms"), unit="ms", utc=True))
        return pandas.DataFrame(columns, index=pandas.DatetimeIndex(start, name="start"))

    def to_arrow(self) -> "pyarrow.Table":
        """Return a table of Arrow: times in UTC, prices as exact decimals.

        Raises:
            ImportError: pyarrow is not installed.
        """
        try:
            import pyarrow
        except ImportError:
            raise ImportError(_hint("to_arrow()", "arrow")) from None
        time = pyarrow.timestamp("ms", tz="UTC")
        columns = self.columns()
        arrays: Dict[str, Any] = {
            "start": pyarrow.array(columns.pop("start_ms"), time),
            "end": pyarrow.array(columns.pop("end_ms"), time),
        }
        for name, values in columns.items():
            if name in _PRICES:
                arrays[name] = pyarrow.array(values, pyarrow.decimal128(38, _places(values)))
            elif name in _TEXTS:
                arrays[name] = pyarrow.array(values, pyarrow.string())
            else:
                arrays[name] = pyarrow.array(values, pyarrow.int64())
        return pyarrow.table(arrays)

    def to_polars(self) -> "polars.DataFrame":
        """Return a table of polars: times in UTC, prices as exact decimals.

        Raises:
            ImportError: polars is not installed.
        """
        try:
            import polars
        except ImportError:
            raise ImportError(_hint("to_polars()", "polars")) from None
        time = polars.Datetime("ms", "UTC")
        columns = self.columns()
        series: List[Any] = [
            polars.Series("start", columns.pop("start_ms"), dtype=polars.Int64).cast(time),
            polars.Series("end", columns.pop("end_ms"), dtype=polars.Int64).cast(time),
        ]
        for name, values in columns.items():
            if name in _PRICES:
                dtype: Any = polars.Decimal(38, _places(values))
            elif name in _TEXTS:
                dtype = polars.String
            else:
                dtype = polars.Int64
            series.append(polars.Series(name, values, dtype=dtype))
        return polars.DataFrame(series)


def _hint(call: str, extra: str) -> str:
    return f"{call} needs {extra}: pip install 'klinecast[{extra}]'"


def _float(value: Optional[Decimal]) -> float:
    return float("nan") if value is None else float(value)


def _places(values: List[Optional[Decimal]]) -> int:
    """Return the decimal places that hold all values exactly."""
    exponents = (value.as_tuple().exponent for value in values if value is not None)
    return max((-exponent for exponent in exponents if isinstance(exponent, int)), default=0)
