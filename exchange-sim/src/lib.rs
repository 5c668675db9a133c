//! A fake Binance, Coinbase and OKX that speak the venues' real wire protocols, with scripted faults.
