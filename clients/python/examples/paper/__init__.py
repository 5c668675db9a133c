"""Paper trading: what a strategy would have bought and sold, and a report of it."""
