"""An account that trades on paper. A decision on a closed bar is carried out at the next open."""

from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal
from typing import List, Optional, Tuple

from klinecast import Bar

_PLACES = Decimal("1e-8")


@dataclass(frozen=True)
class Fill:
    """A purchase or a sale."""

    start_ms: int
    side: str
    price: Decimal
    quantity: Decimal
    cash: Decimal


class Account:
    """All of the cash is in or out of the market."""

    def __init__(self, cash: Decimal = Decimal(10_000), fee_percent: Decimal = Decimal("0.1")) -> None:
        self.start_cash = cash
        self.cash = cash
        self.quantity = Decimal(0)
        self.fee = fee_percent / 100
        self.fills: List[Fill] = []
        #: The end of each bar, and what the account was worth then.
        self.equity: List[Tuple[int, Decimal]] = []
        self._order: Optional[str] = None

    def take(self, bar: Bar, decision: Optional[str]) -> None:
        """Carry out the decision of the bar before, value the account, and note a decision."""
        if self._order == "buy" and self.quantity == 0:
            cost = bar.open * (1 + self.fee)
            self.quantity = (self.cash / cost).quantize(_PLACES, ROUND_DOWN)
            self.cash = (self.cash - self.quantity * cost).quantize(_PLACES, ROUND_DOWN)
            self._note(bar, "buy", self.quantity)
        elif self._order == "sell" and self.quantity > 0:
            sold, self.quantity = self.quantity, Decimal(0)
            self.cash += (sold * bar.open * (1 - self.fee)).quantize(_PLACES, ROUND_DOWN)
            self._note(bar, "sell", sold)
        worth = self.cash + self.quantity * bar.close
        self.equity.append((bar.end_ms, worth.quantize(_PLACES, ROUND_HALF_EVEN)))
        self._order = decision

    def _note(self, bar: Bar, side: str, quantity: Decimal) -> None:
        self.fills.append(Fill(bar.start_ms, side, bar.open, quantity, self.cash))

    @property
    def drawdown_percent(self) -> Decimal:
        """The largest fall of the worth below an earlier one."""
        highest, fall = self.start_cash, Decimal(0)
        for _, worth in self.equity:
            highest = max(highest, worth)
            fall = max(fall, (highest - worth) / highest)
        return (fall * 100).quantize(Decimal("0.01"))
