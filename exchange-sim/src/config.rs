//! Configuration of the simulator; `--help` is the manual.

use std::path::PathBuf;

use clap::{Args, Parser};

use crate::fault_spec::{FaultSpec, GRAMMAR};

/// The markets, the behaviour and the faults of the simulated venues.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// Seed of the market: the same seed gives the same trades at the same times
    #[arg(long, env = "KLINECAST_SIM_SEED", default_value_t = 1)]
    pub seed: u64,

    /// Mean trades per second of a symbol (busy pairs have up to 2.6 times as many, quiet ones 0.05 times)
    #[arg(long, env = "KLINECAST_SIM_RATE", default_value_t = 3.0, value_parser = parse_rate)]
    pub rate: f64,

    /// Number of invented symbols beside the real ones, spread over the three venues
    #[arg(long, env = "KLINECAST_SIM_SYMBOLS", default_value_t = 0)]
    pub symbols: usize,

    /// Minutes of history before the start: REST knows their bars, and the trades of the last --tape-minutes
    #[arg(long, env = "KLINECAST_SIM_HISTORY_MINUTES", default_value_t = 1_000)]
    pub history_minutes: u32,

    /// Most trades of all symbols in this history; a busier market gets fewer minutes
    #[arg(
        long,
        env = "KLINECAST_SIM_HISTORY_TRADES_MAX",
        default_value_t = 4_000_000
    )]
    pub history_trades_max: u64,

    /// No history and no generated market: the only trades are those of POST /sim/trade
    #[arg(long, env = "KLINECAST_SIM_MANUAL")]
    pub manual: bool,

    /// Play this file of raw frames instead of a generated market (plain or .gz; repeatable)
    #[arg(long, env = "KLINECAST_SIM_CAPTURE", value_delimiter = ',')]
    pub capture: Vec<PathBuf>,

    /// Speed of capture playback: 2 is twice as fast
    #[arg(long, env = "KLINECAST_SIM_SPEED", default_value_t = 1.0, value_parser = parse_rate)]
    pub speed: f64,

    /// Shift the venue times in captured frames so that the first frame is now (default: unchanged)
    #[arg(long, env = "KLINECAST_SIM_REBASE_TIME")]
    pub rebase_time: bool,

    /// Milliseconds between the first subscription and the first captured frame
    #[arg(long, env = "KLINECAST_SIM_CAPTURE_LEAD_MS", default_value_t = 1_000)]
    pub capture_lead_ms: u64,

    /// Most bytes of a capture, unpacked
    #[arg(long, env = "KLINECAST_SIM_CAPTURE_BYTES_MAX", default_value_t = 2 << 30)]
    pub capture_bytes_max: u64,

    #[arg(long = "fault", env = "KLINECAST_SIM_FAULT", value_delimiter = ';', value_name = "FAULT",
          help = "Sets a fault, such as gap,venue=binance,symbol=BTCUSDT,count=5,at=10s (repeatable; see --help)",
          long_help = GRAMMAR)]
    /// Faults set at the start.
    pub faults: Vec<FaultSpec>,

    /// Minutes of trades that the tape keeps
    #[arg(long, env = "KLINECAST_SIM_TAPE_MINUTES", default_value_t = 120)]
    pub tape_minutes: u32,

    /// Most trades that all tapes keep together
    #[arg(
        long,
        env = "KLINECAST_SIM_TAPE_TRADES_MAX",
        default_value_t = 10_000_000
    )]
    pub tape_trades_max: usize,

    /// Most one-minute bars that a tape keeps per symbol
    #[arg(long, env = "KLINECAST_SIM_TAPE_BARS_MAX", default_value_t = 2_880)]
    pub tape_bars_max: usize,

    /// Milliseconds between the market's steps
    #[arg(long, env = "KLINECAST_SIM_TICK_MS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub tick_ms: u64,

    /// Most TCP connections at once
    #[arg(long, env = "KLINECAST_SIM_CONNECTIONS_MAX", default_value_t = 10_000)]
    pub connections_max: usize,

    /// Most frames that wait for one client; beyond it the client is disconnected as too slow
    #[arg(long, env = "KLINECAST_SIM_CLIENT_FRAMES_MAX", default_value_t = 65_536, value_parser = parse_positive)]
    pub client_frames_max: usize,

    /// Most bytes of one client frame
    #[arg(long, env = "KLINECAST_SIM_CLIENT_FRAME_BYTES_MAX", default_value_t = 1 << 20)]
    pub client_frame_bytes_max: usize,

    /// Milliseconds in which a connection must send its request's head
    #[arg(long, env = "KLINECAST_SIM_HANDSHAKE_MS", default_value_t = 10_000)]
    pub handshake_ms: u64,

    /// The venues' limits per address on REST requests and on new WebSocket connections
    #[arg(long, env = "KLINECAST_SIM_RATE_LIMITS", default_value_t = true, action = clap::ArgAction::Set)]
    pub rate_limits: bool,

    /// Binance: milliseconds between server pings
    #[arg(long, env = "KLINECAST_SIM_BINANCE_PING_MS", default_value_t = 20_000)]
    pub binance_ping_ms: u64,

    /// Binance: milliseconds within which a ping must be answered
    #[arg(long, env = "KLINECAST_SIM_BINANCE_PONG_MS", default_value_t = 60_000)]
    pub binance_pong_ms: u64,

    /// Binance: milliseconds after which a connection is cut
    #[arg(
        long,
        env = "KLINECAST_SIM_BINANCE_CONNECTION_MS",
        default_value_t = 86_400_000
    )]
    pub binance_connection_ms: u64,

    /// Binance: most messages a second, pings and pongs included; beyond it a client is cut (0: no limit)
    #[arg(
        long,
        env = "KLINECAST_SIM_BINANCE_MESSAGES_PER_SECOND",
        default_value_t = 5
    )]
    pub binance_messages_per_second: usize,

    /// Coinbase: milliseconds within which a client must subscribe
    #[arg(
        long,
        env = "KLINECAST_SIM_COINBASE_SUBSCRIBE_MS",
        default_value_t = 5_000
    )]
    pub coinbase_subscribe_ms: u64,

    /// OKX: milliseconds of silence in both directions after which a connection is closed
    #[arg(long, env = "KLINECAST_SIM_OKX_IDLE_MS", default_value_t = 30_000)]
    pub okx_idle_ms: u64,
}

impl Default for Config {
    /// The configuration without flags; it ignores the environment.
    fn default() -> Config {
        #[derive(Parser)]
        struct Flags {
            #[command(flatten)]
            config: Config,
        }
        // Environment variables must not leak into a default: the names are cleared, not read.
        let command =
            <Flags as clap::CommandFactory>::command().mut_args(|arg| arg.env(None::<&str>));
        let matches = command.get_matches_from(["exchange-sim"]);
        <Flags as clap::FromArgMatches>::from_arg_matches(&matches)
            .expect("every flag has a default")
            .config
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 100_000.0 => Ok(rate),
        _ => Err("must be a number above 0 and up to 100000".to_owned()),
    }
}

fn parse_positive(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("must be a number above 0".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_no_flags() {
        let config = Config::default();
        assert_eq!(config.rate, 3.0);
        assert!(
            !config.manual
                && config.rate_limits
                && config.capture.is_empty()
                && config.faults.is_empty()
        );
    }
}
