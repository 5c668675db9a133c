"""The options of a subscription, as the protocol has them."""

from __future__ import annotations

from typing import Any, Dict, Optional


def options(
    closed_only: bool,
    fill: str,
    max_rate: Optional[float],
    book_depth: Optional[int],
    book_changes: bool,
) -> Dict[str, Any]:
    """Make the fields of a request of what differs from the defaults of the gateway."""
    fields = {
        "closed_only": closed_only or None,
        "fill": fill if fill != "flat" else None,
        "max_rate": max_rate,
        "depth": book_depth,
        "changes": book_changes or None,
    }
    return {name: value for name, value in fields.items() if value is not None}
