"""The report of a run: trades as a table, and the worth of the account as a picture."""

import json
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import List, Tuple

from .account import Account

_WIDTH, _HEIGHT, _MARGIN = 800, 300, 40
#: More points cannot be told apart.
_POINTS = 400


def write(folder: Path, account: Account, revised: int) -> None:
    """Write ``report.json`` and ``equity.svg``.

    Args:
        folder: where to.
        account: what was done.
        revised: how many bars were corrected after they had been decided on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    worth = account.equity[-1][1] if account.equity else account.start_cash
    result = {
        "bars": len(account.equity),
        "revised_bars": revised,
        "start_cash": str(account.start_cash),
        "worth": str(worth),
        "drawdown_percent": str(account.drawdown_percent),
        "trades": [
            {
                "start_ms": fill.start_ms,
                "side": fill.side,
                "price": str(fill.price),
                "quantity": str(fill.quantity),
                "cash": str(fill.cash),
            }
            for fill in account.fills
        ],
    }
    (folder / "report.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (folder / "equity.svg").write_text(picture(account.equity), encoding="utf-8")


def picture(equity: List[Tuple[int, Decimal]]) -> str:
    """Draw the worth over time as SVG."""
    step = max(1, len(equity) // _POINTS)
    points = equity[::step] + equity[-1:]
    label = "no bars"
    line = ""
    if points:
        low, high = min(worth for _, worth in points), max(worth for _, worth in points)
        first, last = points[0][0], points[-1][0]
        across, up = max(1, last - first), (high - low) or Decimal(1)
        line = " ".join(
            f"{_MARGIN + (_WIDTH - 2 * _MARGIN) * (at - first) / across:.1f},"
            f"{_HEIGHT - _MARGIN - float((_HEIGHT - 2 * _MARGIN) * (worth - low) / up):.1f}"
            for at, worth in points
        )
        label = f"{_time(first)} to {_time(last)}: {low:.2f} to {high:.2f}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">\n'
        f"<title>Worth of the account</title>\n"
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>\n'
        f'<polyline fill="none" stroke="#1565c0" stroke-width="1.5" points="{line}"/>\n'
        f'<text x="{_MARGIN}" y="{_HEIGHT - 12}" font-family="sans-serif" font-size="12">'
        f"{label}</text>\n"
        "</svg>\n"
    )


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
