//! The configuration with its defaults: the manual is `ws-gateway --help`.

mod parts;
mod streams;

use market_core::channel::{CHANNELS, CLOSED_BARS_KEPT, Channel};
use service::Network;

pub use self::streams::BinanceStreamsConfig;
use crate::access::AuthConfig;

/// Configuration of a gateway. `Config::default()` is the configuration without flags and variables.
#[derive(clap::Args, Clone, Debug, PartialEq)]
#[group(id = "ws-gateway")]
pub struct Config {
    /// Bus patterns whose messages clients can subscribe to, separated by commas.
    #[arg(long, env = "KLINECAST_GATEWAY_SUBJECTS", value_delimiter = ',', default_values_t = Config::default().subjects)]
    pub subjects: Vec<String>,

    /// Tasks that share the sessions; 0 is one for each core.
    #[arg(long, env = "KLINECAST_GATEWAY_SHARDS", default_value_t = Config::default().shards)]
    pub shards: usize,

    /// Threads that handle what clients send; 0 is one for each processor. The gateway takes
    /// bars from the bus and sends them on other threads, so that a flood of requests delays no bar.
    #[arg(long, env = "KLINECAST_GATEWAY_CONNECTION_THREADS", default_value_t = Config::default().connection_threads)]
    pub connection_threads: usize,

    /// How long a change waits for more changes of the same topic set, ms. They go out together
    /// once no change has come for this time, so that a burst becomes one frame.
    #[arg(long, env = "KLINECAST_GATEWAY_SETTLE_MS", default_value_t = Config::default().settle_ms)]
    pub settle_ms: u64,

    /// Longest wait of a change while more changes keep coming, ms.
    #[arg(long, env = "KLINECAST_GATEWAY_LINGER_MS", default_value_t = Config::default().linger_ms)]
    pub linger_ms: u64,

    /// Minimum time between two frames for the same topic set, ms.
    #[arg(long, env = "KLINECAST_GATEWAY_FLUSH_INTERVAL_MS", default_value_t = Config::default().flush_interval_ms)]
    pub flush_interval_ms: u64,

    /// Rest after a flush, as a percentage of the time that the flush took. Under load, frames
    /// then become larger instead of more frequent.
    #[arg(long, env = "KLINECAST_GATEWAY_FLUSH_REST_PERCENT", default_value_t = Config::default().flush_rest_percent)]
    pub flush_rest_percent: u32,

    /// Most bytes of JSON in one frame. A longer batch or snapshot is split into several frames.
    #[arg(long, env = "KLINECAST_GATEWAY_FRAME_BYTES_MAX", default_value_t = Config::default().frame_bytes_max)]
    pub frame_bytes_max: usize,

    /// Whether frames are compressed for clients that offer permessage-deflate.
    #[arg(long, env = "KLINECAST_GATEWAY_COMPRESSION", default_value_t = Config::default().compression)]
    pub compression: Switch,

    /// Compression level: 1 (fast) to 9 (small).
    #[arg(long, env = "KLINECAST_GATEWAY_COMPRESSION_LEVEL", default_value_t = Config::default().compression_level, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub compression_level: u8,

    /// Messages below this length are not compressed, bytes.
    #[arg(long, env = "KLINECAST_GATEWAY_COMPRESSION_BYTES_MIN", default_value_t = Config::default().compression_bytes_min)]
    pub compression_bytes_min: usize,

    /// Most sessions at once. The open-files limit of the process may lower it.
    #[arg(long, env = "KLINECAST_GATEWAY_SESSIONS_MAX", default_value_t = Config::default().sessions_max)]
    pub sessions_max: usize,

    /// Most sessions of one client address at once; 0 is no limit. The default is 1,000; it does
    /// not apply to loopback addresses, which are this host's own tools and proxies. An IPv6 prefix
    /// (--client-ipv6-prefix-bits) is one address.
    #[arg(long, env = "KLINECAST_GATEWAY_SESSIONS_PER_IP")]
    pub sessions_per_ip: Option<usize>,

    /// New connections a second. More connections wait in the listener's backlog. 0 is no limit.
    #[arg(long, env = "KLINECAST_GATEWAY_HANDSHAKE_RATE", default_value_t = Config::default().handshake_rate)]
    pub handshake_rate: u32,

    /// New connections of one client address a second, and twice as many at once. More connections
    /// are answered with 503. 0 is no limit. The default is 500; it does not apply to loopback
    /// addresses. For a trusted proxy, the handshakes of each of its clients count, and the answer
    /// is 429.
    #[arg(long, env = "KLINECAST_GATEWAY_HANDSHAKE_RATE_PER_IP")]
    pub handshake_rate_per_ip: Option<u32>,

    /// Length of the IPv6 prefix whose addresses count as one client, bits. This applies to the
    /// limits of sessions, handshakes, bad tokens, unpublished widths and replays of an address.
    #[arg(long, env = "KLINECAST_GATEWAY_CLIENT_IPV6_PREFIX_BITS", default_value_t = Config::default().client_ipv6_prefix_bits, value_parser = clap::value_parser!(u8).range(1..=128))]
    pub client_ipv6_prefix_bits: u8,

    /// Time within which a request's headers must arrive, ms.
    #[arg(long, env = "KLINECAST_GATEWAY_HANDSHAKE_MS", default_value_t = Config::default().handshake_ms)]
    pub handshake_ms: u64,

    /// Longest life of a connection that is not a WebSocket, ms.
    #[arg(long, env = "KLINECAST_GATEWAY_HTTP_MS", default_value_t = Config::default().http_ms)]
    pub http_ms: u64,

    /// Time within which the first request of a session must come, ms (close code 4004).
    #[arg(long, env = "KLINECAST_GATEWAY_FIRST_MESSAGE_MS", default_value_t = Config::default().first_message_ms)]
    pub first_message_ms: u64,

    /// Proxies whose X-Forwarded-For the gateway believes: addresses or networks (10.0.0.0/8),
    /// separated by commas.
    #[arg(
        long = "trusted-proxy",
        env = "KLINECAST_GATEWAY_TRUSTED_PROXY",
        value_delimiter = ','
    )]
    pub trusted_proxies: Vec<Network>,

    /// Most subscriptions of one session; a wildcard counts as one.
    #[arg(long, env = "KLINECAST_GATEWAY_SUBSCRIPTIONS_MAX", default_value_t = Config::default().subscriptions_max)]
    pub subscriptions_max: usize,

    /// Most subscriptions with wildcards of one session. When a session gives up one of them, the
    /// others are compared with all topics again.
    #[arg(long, env = "KLINECAST_GATEWAY_SESSION_WILDCARDS_MAX", default_value_t = Config::default().session_wildcards_max)]
    pub session_wildcards_max: usize,

    /// Most bytes of the names of one session's subscriptions.
    #[arg(long, env = "KLINECAST_GATEWAY_SESSION_NAME_BYTES_MAX", default_value_t = Config::default().session_name_bytes_max)]
    pub session_name_bytes_max: usize,

    /// Most topics of one session, with its wildcards expanded.
    #[arg(long, env = "KLINECAST_GATEWAY_SESSION_TOPICS_MAX", default_value_t = Config::default().session_topics_max)]
    pub session_topics_max: usize,

    /// Most topics in one request.
    #[arg(long, env = "KLINECAST_GATEWAY_REQUEST_TOPICS_MAX", default_value_t = Config::default().request_topics_max)]
    pub request_topics_max: usize,

    /// Most topics with wildcards in one request.
    #[arg(long, env = "KLINECAST_GATEWAY_REQUEST_WILDCARDS_MAX", default_value_t = Config::default().request_wildcards_max)]
    pub request_wildcards_max: usize,

    /// Most topics that the answer to `list` names.
    #[arg(long, env = "KLINECAST_GATEWAY_LIST_TOPICS_MAX", default_value_t = Config::default().list_topics_max)]
    pub list_topics_max: usize,

    /// Most messages and pings a second from one session, on average (close code 4002); 0 is no
    /// limit.
    #[arg(long, env = "KLINECAST_GATEWAY_MESSAGE_RATE", default_value_t = Config::default().message_rate)]
    pub message_rate: u32,

    /// Most messages and pings from one session at once.
    #[arg(long, env = "KLINECAST_GATEWAY_MESSAGE_BURST", default_value_t = Config::default().message_burst)]
    pub message_burst: u32,

    /// Longest message, and longest frame, from a client, bytes (close code 1009).
    #[arg(long, env = "KLINECAST_GATEWAY_MESSAGE_BYTES_MAX", default_value_t = Config::default().message_bytes_max)]
    pub message_bytes_max: usize,

    /// Kernel send buffer of a connection, bytes; 0 leaves it to the system. With a smaller buffer,
    /// a slow client reads newer data.
    #[arg(long, env = "KLINECAST_GATEWAY_SEND_BUFFER_BYTES", default_value_t = Config::default().send_buffer_bytes)]
    pub send_buffer_bytes: usize,

    /// Longest time in which a connection takes none of the bytes that wait for it, ms (close code
    /// 4000).
    #[arg(long, env = "KLINECAST_GATEWAY_WRITE_DEADLINE_MS", default_value_t = Config::default().write_deadline_ms)]
    pub write_deadline_ms: u64,

    /// Longest time in which a connection takes all bytes that wait for it, ms (close code 4000).
    #[arg(long, env = "KLINECAST_GATEWAY_STALL_DEADLINE_MS", default_value_t = Config::default().stall_deadline_ms)]
    pub stall_deadline_ms: u64,

    /// Average time between two pings, ms.
    #[arg(long, env = "KLINECAST_GATEWAY_PING_INTERVAL_MS", default_value_t = Config::default().ping_interval_ms)]
    pub ping_interval_ms: u64,

    /// Longest time without a pong or message from the client, ms (close code 4001).
    #[arg(long, env = "KLINECAST_GATEWAY_IDLE_MS", default_value_t = Config::default().idle_ms)]
    pub idle_ms: u64,

    /// Time within which the client must answer a close, ms.
    #[arg(long, env = "KLINECAST_GATEWAY_CLOSE_MS", default_value_t = Config::default().close_ms)]
    pub close_ms: u64,

    /// First phase of a drain, ms: the gateway says that it is not ready, so that a balancer that
    /// asks sends no more clients, but it still accepts connections. At most a quarter of the
    /// program's drain deadline.
    #[arg(long, env = "KLINECAST_GATEWAY_DRAIN_NOTICE_MS", default_value_t = Config::default().drain_notice_ms)]
    pub drain_notice_ms: u64,

    /// Second phase of a drain, ms: the gateway spreads its closes over this time. At most four
    /// fifths of the time that the program's drain deadline leaves after the first phase and
    /// --close-ms.
    #[arg(long, env = "KLINECAST_GATEWAY_DRAIN_MS", default_value_t = Config::default().drain_ms)]
    pub drain_ms: u64,

    /// Most sessions that a rebalance closes a second (close code 4006).
    #[arg(long, env = "KLINECAST_GATEWAY_SHED_RATE", default_value_t = Config::default().shed_rate)]
    pub shed_rate: u64,

    /// A rebalance closes only sessions that have lasted for this time, ms.
    #[arg(long, env = "KLINECAST_GATEWAY_SHED_AGE_MS", default_value_t = Config::default().shed_age_ms)]
    pub shed_age_ms: u64,

    /// Most topics that the gateway holds.
    #[arg(long, env = "KLINECAST_GATEWAY_TOPICS_MAX", default_value_t = Config::default().topics_max)]
    pub topics_max: usize,

    /// Longest message that the gateway takes from the bus, bytes. Longer ones are refused and
    /// counted.
    #[arg(long, env = "KLINECAST_GATEWAY_PUBLICATION_BYTES_MAX", default_value_t = Config::default().publication_bytes_max)]
    pub publication_bytes_max: usize,

    /// How far ahead of this host's clock a bar or mark from the bus may be, ms. Bars and marks
    /// that are further ahead are refused and counted.
    #[arg(long, env = "KLINECAST_GATEWAY_FUTURE_MAX_MS", default_value_t = Config::default().future_max_ms)]
    pub future_max_ms: u64,

    /// Timeframes that clients may subscribe to before the first bar of them has come, separated by
    /// commas. A request for any other timeframe is an error.
    #[arg(long, env = "KLINECAST_GATEWAY_KNOWN_TIMEFRAMES", value_delimiter = ',', default_values_t = Config::default().known_timeframes)]
    pub known_timeframes: Vec<String>,

    /// Exchanges that clients may name before the first bar of them has come, in lower case,
    /// separated by commas. A request for any other exchange is an error.
    #[arg(long, env = "KLINECAST_GATEWAY_KNOWN_EXCHANGES", value_delimiter = ',', default_values_t = Config::default().known_exchanges)]
    pub known_exchanges: Vec<String>,

    /// Number of closed bars that each topic holds for as long as it lives: the newest by start.
    #[arg(long, env = "KLINECAST_GATEWAY_CLOSED_BARS", default_value_t = Config::default().closed_bars)]
    pub closed_bars: usize,

    /// Number of closed bars per topic whose existence is remembered, to count the bars that a slow
    /// client missed. Bars that a client can still lack are remembered beyond this number, up to
    /// --closed-burst-max.
    #[arg(long, env = "KLINECAST_GATEWAY_CLOSED_LOG", default_value_t = Config::default().closed_log)]
    pub closed_log: usize,

    /// How long closed bars beyond --closed-bars are held, ms. A burst of closed bars or revisions
    /// then reaches each client that reads within this time.
    #[arg(long, env = "KLINECAST_GATEWAY_CLOSED_HOLD_MS", default_value_t = Config::default().closed_hold_ms)]
    pub closed_hold_ms: u64,

    /// Most closed bars of a topic that are held for --closed-hold-ms. Beyond it the oldest are
    /// released early.
    #[arg(long, env = "KLINECAST_GATEWAY_CLOSED_BURST_MAX", default_value_t = Config::default().closed_burst_max)]
    pub closed_burst_max: usize,

    /// Most bytes of closed bars of all topics that are held for --closed-hold-ms. Beyond it the
    /// oldest are released early, except the last bar of each topic.
    #[arg(long, env = "KLINECAST_GATEWAY_CLOSED_HOLD_BYTES_MAX", default_value_t = Config::default().closed_hold_bytes_max)]
    pub closed_hold_bytes_max: usize,

    /// Number of trades that each topic of trades holds for as long as it lives: the newest.
    #[arg(long, env = "KLINECAST_GATEWAY_LOG_ENTRIES", default_value_t = Config::default().log_entries)]
    pub log_entries: usize,

    /// Most trades of a symbol that are held for --closed-hold-ms. Beyond it the oldest are released
    /// early, and clients that lack them get their number (`skipped`).
    #[arg(long, env = "KLINECAST_GATEWAY_LOG_BURST_MAX", default_value_t = Config::default().log_burst_max)]
    pub log_burst_max: usize,

    /// Most bytes of trades of all symbols that are held for --closed-hold-ms. Beyond it the oldest
    /// are released early, except the last ones of each symbol (--log-entries).
    #[arg(long, env = "KLINECAST_GATEWAY_LOG_HOLD_BYTES_MAX", default_value_t = Config::default().log_hold_bytes_max)]
    pub log_hold_bytes_max: usize,

    /// Most bytes of trades that a client gets at once after it fell behind or resumed. It gets the
    /// newest ones and the number of the others.
    #[arg(long, env = "KLINECAST_GATEWAY_LOG_BYTES_MAX", default_value_t = Config::default().log_bytes_max)]
    pub log_bytes_max: usize,

    /// Most bytes that wait for slow clients: answers, and updates for clients that have fallen
    /// behind. Beyond it, `sub` and `list` are refused (`overloaded`), and slow clients wait.
    #[arg(long, env = "KLINECAST_GATEWAY_PENDING_BYTES_MAX", default_value_t = Config::default().pending_bytes_max)]
    pub pending_bytes_max: usize,

    /// Most bytes of closed bars that a client gets when it resumes (beyond it, the other topics are
    /// in `not_resumed`), and of earlier ones after a late bar.
    #[arg(long, env = "KLINECAST_GATEWAY_RESUME_BYTES_MAX", default_value_t = Config::default().resume_bytes_max)]
    pub resume_bytes_max: usize,

    /// Most bars of the past that a client gets of one topic of a request (`from`). Beyond it, the
    /// topic goes live with `too_many`.
    #[arg(long, env = "KLINECAST_GATEWAY_HISTORY_BARS_MAX", default_value_t = Config::default().history_bars_max)]
    pub history_bars_max: usize,

    /// Most topics whose past is read at once for one session. Other topics wait for their turn.
    #[arg(long, env = "KLINECAST_GATEWAY_HISTORY_READS_PER_SESSION", default_value_t = Config::default().history_reads_per_session)]
    pub history_reads_per_session: usize,

    /// Most questions to history at once. Other questions wait for their turn.
    #[arg(long, env = "KLINECAST_GATEWAY_HISTORY_QUESTIONS_MAX", default_value_t = Config::default().history_questions_max)]
    pub history_questions_max: usize,

    /// Most topics that all clients together replay at once (`replay_from`). Beyond it, a request is
    /// refused (`overloaded`).
    #[arg(long, env = "KLINECAST_GATEWAY_REPLAYS_MAX", default_value_t = Config::default().replays_max)]
    pub replays_max: usize,

    /// Most topics that one session replays at once. Beyond it, a request is refused
    /// (`too_many_subscriptions`).
    #[arg(long, env = "KLINECAST_GATEWAY_REPLAYS_PER_SESSION", default_value_t = Config::default().replays_per_session)]
    pub replays_per_session: usize,

    /// Most topics that all sessions of one client address replay at once; 0 is no limit. The
    /// default is 16; it does not apply to loopback addresses.
    #[arg(long, env = "KLINECAST_GATEWAY_REPLAYS_PER_IP")]
    pub replays_per_ip: Option<usize>,

    /// Longest wait for a turn to ask history, and for its answer, ms. Then the gateway asks again.
    #[arg(long, env = "KLINECAST_GATEWAY_HISTORY_ANSWER_MS", default_value_t = Config::default().history_answer_ms)]
    pub history_answer_ms: u64,

    /// Longest time without a bar of the past, ms. Then the topic goes live, and the client is told
    /// that bars may be missing (`recovered` is false).
    #[arg(long, env = "KLINECAST_GATEWAY_HISTORY_WAIT_MS", default_value_t = Config::default().history_wait_ms)]
    pub history_wait_ms: u64,

    /// Most topics of widths that nobody publishes (`kline:7m:BTC-USD`) whose bars the gateway
    /// makes at once. Beyond it, a request is refused (`too_many_topics`). At most a tenth of these
    /// topics may be of symbols whose bars have not come.
    #[arg(long, env = "KLINECAST_GATEWAY_FOLDS_MAX", default_value_t = Config::default().folds_max)]
    pub folds_max: usize,

    /// Most such topics for one session. A topic counts for the session that asked for it first,
    /// until the topic ends (--fold-linger-ms).
    #[arg(long, env = "KLINECAST_GATEWAY_FOLDS_PER_SESSION", default_value_t = Config::default().folds_per_session)]
    pub folds_per_session: usize,

    /// Most such topics for all sessions of one client address; 0 is no limit. The default is 200;
    /// it does not apply to loopback addresses.
    #[arg(long, env = "KLINECAST_GATEWAY_FOLDS_PER_IP")]
    pub folds_per_ip: Option<usize>,

    /// How long the gateway makes the bars of such a topic after its last session has left, ms. At
    /// least 30,000.
    #[arg(long, env = "KLINECAST_GATEWAY_FOLD_LINGER_MS", default_value_t = Config::default().fold_linger_ms, value_parser = clap::value_parser!(u64).range(30_000..))]
    pub fold_linger_ms: u64,

    /// Order books of a topic that are held beside the newest, so that a client that takes changes and
    /// is up to this number of books behind gets changes. 0: each message has the whole book.
    #[arg(long, env = "KLINECAST_GATEWAY_EARLIER_BOOKS", default_value_t = Config::default().earlier_books, value_parser = clap::value_parser!(u16).range(..=1_000))]
    pub earlier_books: u16,

    /// After this time without a message of an order book, ms, clients are told that it is invalid.
    /// Use at least three times marketdata's --book-heartbeat-ms.
    #[arg(long, env = "KLINECAST_GATEWAY_BOOK_SILENCE_MS", default_value_t = Config::default().book_silence_ms, value_parser = clap::value_parser!(u64).range(1..))]
    pub book_silence_ms: u64,

    /// Which clients may connect, and which topics they may see.
    #[command(flatten)]
    pub auth: AuthConfig,

    /// The streams of Binance's dialect.
    #[command(flatten)]
    pub binance_streams: BinanceStreamsConfig,

    /// Path of a WebSocket that echoes, for conformance tests.
    #[arg(long, env = "KLINECAST_GATEWAY_ECHO_PATH", hide = true)]
    pub echo_path: Option<String>,
}

/// On or off.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

impl std::fmt::Display for Switch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::On => "on",
            Self::Off => "off",
        })
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            subjects: CHANNELS
                .iter()
                .filter(|channel| channel.is_served)
                .map(Channel::subjects)
                .collect(),
            shards: 0,
            connection_threads: 0,
            settle_ms: 1,
            linger_ms: 5,
            flush_interval_ms: 10,
            flush_rest_percent: 50,
            frame_bytes_max: 512 * 1024,
            compression: Switch::On,
            compression_level: 4,
            compression_bytes_min: 256,
            sessions_max: 20_000,
            sessions_per_ip: None,
            handshake_rate: 5_000,
            handshake_rate_per_ip: None,
            client_ipv6_prefix_bits: 64,
            handshake_ms: 5_000,
            http_ms: 60_000,
            first_message_ms: 30_000,
            trusted_proxies: Vec::new(),
            subscriptions_max: 1_000,
            session_wildcards_max: 100,
            session_topics_max: 10_000,
            session_name_bytes_max: 64 * 1024,
            request_topics_max: 1_000,
            request_wildcards_max: 50,
            list_topics_max: 10_000,
            message_rate: 20,
            message_burst: 50,
            message_bytes_max: 64 * 1024,
            send_buffer_bytes: 128 * 1024,
            write_deadline_ms: 10_000,
            stall_deadline_ms: 60_000,
            ping_interval_ms: 25_000,
            idle_ms: 60_000,
            close_ms: 2_000,
            drain_notice_ms: 2_000,
            drain_ms: 10_000,
            shed_rate: 100,
            shed_age_ms: 5_000,
            topics_max: 200_000,
            publication_bytes_max: 64 * 1024,
            future_max_ms: 3_600_000,
            known_timeframes: ["1s", "1m", "1h", "1d"].map(str::to_owned).into(),
            known_exchanges: ["binance", "coinbase", "okx"].map(str::to_owned).into(),
            closed_bars: usize::try_from(CLOSED_BARS_KEPT).expect("a few"),
            closed_log: 256,
            closed_hold_ms: 30_000,
            closed_burst_max: 4_096,
            closed_hold_bytes_max: 256 * 1024 * 1024,
            pending_bytes_max: 256 * 1024 * 1024,
            log_entries: 64,
            log_burst_max: 4_096,
            log_hold_bytes_max: 64 * 1024 * 1024,
            log_bytes_max: 1024 * 1024,
            resume_bytes_max: 16 * 1024 * 1024,
            folds_max: 1_000,
            folds_per_session: 50,
            folds_per_ip: None,
            fold_linger_ms: 60_000,
            history_bars_max: 10_000,
            history_reads_per_session: 4,
            history_questions_max: 32,
            replays_max: 64,
            replays_per_session: 4,
            replays_per_ip: None,
            history_answer_ms: 2_000,
            history_wait_ms: 5_000,
            earlier_books: 16,
            book_silence_ms: 15_000,
            auth: AuthConfig::default(),
            binance_streams: BinanceStreamsConfig::default(),
            echo_path: None,
        }
    }
}

#[cfg(test)]
mod tests;
