//! The settings of each part of a gateway, from its configuration.

use std::sync::Arc;
use std::time::Duration;

use market_core::protocol::RequestLimits;

use super::{Config, Switch};
use crate::access::{AuthRules, Origins};
use crate::connection::settings::ConnectionConfig;
use crate::entry::accept::EntryConfig;
use crate::entry::handshake::HandshakeConfig;
use crate::fleet::drain::DrainConfig;
use crate::limits::{AddressGroups, Allowance, LimitsConfig, SharesConfig};
use crate::sessions::flush::RunnerConfig;
use crate::sessions::flush_schedule::Pace;
use crate::sessions::history_reader::HistoryLimits;
use crate::sessions::replay_places::ReplayPlaces;
use crate::sessions::shard::ShardConfig;
use crate::topics::book_silence::BookSilence;
use crate::topics::folds::FoldLimits;
use crate::topics::names::Names;
use crate::topics::publication::Bounds;
use crate::topics::state::Depth;
use crate::topics::streams::StreamLimits;
use client_frames::encode::deflate::Compression;

/// New connections of one client a second unless configured.
const HANDSHAKE_RATE_PER_IP_DEFAULT: u32 = 500;
/// Folds of one client unless configured.
const FOLDS_PER_IP_DEFAULT: usize = 200;
/// Streams of Binance's dialect of one client unless configured.
const BINANCE_STREAMS_PER_IP_DEFAULT: usize = 1_000;
/// Replayed topics of one client unless configured.
const REPLAYS_PER_IP_DEFAULT: usize = 16;

/// How much longer than the stall deadline a session may be behind: the longest time between two
/// frames that a client may ask for (a tenth of a frame a second), plus half of it as a reserve.
const LAG_MORE: Duration = Duration::from_secs(15);

impl Config {
    /// How many sessions there may be.
    #[must_use]
    pub(crate) fn limits(&self) -> LimitsConfig {
        LimitsConfig {
            sessions_max: self.sessions_max,
            sessions_per_ip: self.sessions_per_ip,
            groups: self.address_groups(),
        }
    }

    /// Who may connect, and how often.
    #[must_use]
    pub(crate) fn entry(&self) -> EntryConfig {
        EntryConfig {
            trusted: self.trusted_proxies.clone(),
            handshake_time: Duration::from_millis(self.handshake_ms),
            http_time: Duration::from_millis(self.http_ms),
            handshake_rate: self.handshake_rate,
            allowance: self.handshake_allowance(),
            groups: self.address_groups(),
        }
    }

    /// The rules for a handshake.
    #[must_use]
    pub(crate) fn handshake(&self) -> HandshakeConfig {
        HandshakeConfig {
            trusted: self.trusted_proxies.clone(),
            limits: self.request_limits(),
            compresses: self.compression == Switch::On,
            origins: Origins::new(&self.auth.allowed_origins, self.auth.require_origin),
            echo_path: self.echo_path.clone(),
        }
    }

    /// Bounds and times of a connection.
    #[must_use]
    pub(crate) fn connection(&self) -> ConnectionConfig {
        ConnectionConfig {
            limits: self.request_limits(),
            message_rate: self.message_rate,
            message_burst: self.message_burst,
            message_bytes_max: self.message_bytes_max,
            write_deadline: Duration::from_millis(self.write_deadline_ms),
            stall_deadline: Duration::from_millis(self.stall_deadline_ms),
            close_deadline: Duration::from_millis(self.close_ms),
            compression: self.compression(),
        }
    }

    /// When books are said to be invalid.
    #[must_use]
    pub(crate) fn book_silence(&self) -> BookSilence {
        BookSilence::new(Duration::from_millis(self.book_silence_ms))
    }

    /// The times of a drain's phases.
    #[must_use]
    pub(crate) fn drain(&self) -> DrainConfig {
        DrainConfig {
            notice: Duration::from_millis(self.drain_notice_ms),
            window: Duration::from_millis(self.drain_ms),
            close: Duration::from_millis(self.close_ms),
        }
    }

    /// The times of a shard's task; `auth` has the rules for its sessions.
    #[must_use]
    pub(crate) fn runner(&self, auth: Option<AuthRules>) -> RunnerConfig {
        RunnerConfig {
            shard: self.shard(auth),
            rest_percent: self.flush_rest_percent,
            shed_age_min: Duration::from_millis(self.shed_age_ms),
        }
    }

    /// Bounds and times of the sessions; `auth` has the rules for them.
    #[must_use]
    pub(crate) fn shard(&self, auth: Option<AuthRules>) -> ShardConfig {
        ShardConfig {
            subscriptions_max: self.subscriptions_max,
            wildcards_max: self.session_wildcards_max,
            topics_max: self.session_topics_max,
            name_bytes_max: self.session_name_bytes_max,
            history_bars_max: self.history_bars_max,
            history_reads_per_session: self.history_reads_per_session,
            replay_places: Arc::new(self.replay_places()),
            history_wait: Duration::from_millis(self.history_wait_ms),
            list_max: self.list_topics_max,
            frame_bytes_max: self.frame_bytes_max,
            resume_bytes_max: self.resume_bytes_max,
            log_bytes_max: self.log_bytes_max,
            compression: self.compression(),
            ping_interval: Duration::from_millis(self.ping_interval_ms.max(1)),
            idle_timeout: Duration::from_millis(self.idle_ms),
            first_message_timeout: Duration::from_millis(self.first_message_ms),
            pace: Pace {
                settle: Duration::from_millis(self.settle_ms),
                linger: Duration::from_millis(self.linger_ms),
                interval: Duration::from_millis(self.flush_interval_ms),
            },
            auth,
        }
    }

    /// How many topics are replayed.
    fn replay_places(&self) -> ReplayPlaces {
        let shares = SharesConfig {
            per_session: self.replays_per_session,
            per_ip: self.replays_per_ip.unwrap_or(REPLAYS_PER_IP_DEFAULT),
            holds_for_loopback: self.replays_per_ip.is_some(),
            groups: self.address_groups(),
        };
        ReplayPlaces::new(self.replays_max, shares)
    }

    /// How history is asked.
    #[must_use]
    pub(crate) fn history(&self) -> HistoryLimits {
        HistoryLimits {
            reads_max: self.history_questions_max,
            answer_time: Duration::from_millis(self.history_answer_ms),
        }
    }

    /// How many widths are folded.
    #[must_use]
    pub(crate) fn folds(&self) -> FoldLimits {
        FoldLimits {
            folds_max: self.folds_max,
            shares: SharesConfig {
                per_session: self.folds_per_session,
                per_ip: self.folds_per_ip.unwrap_or(FOLDS_PER_IP_DEFAULT),
                holds_for_loopback: self.folds_per_ip.is_some(),
                groups: self.address_groups(),
            },
            linger: Duration::from_millis(self.fold_linger_ms),
        }
    }

    /// How many streams of Binance's dialect are made.
    #[must_use]
    pub(crate) fn streams(&self) -> StreamLimits {
        let config = &self.binance_streams;
        let per_ip = config.binance_streams_per_ip;
        StreamLimits {
            streams_max: config.binance_streams_max,
            shares: SharesConfig {
                per_session: config.binance_streams_per_session,
                per_ip: per_ip.unwrap_or(BINANCE_STREAMS_PER_IP_DEFAULT),
                holds_for_loopback: per_ip.is_some(),
                groups: self.address_groups(),
            },
            book_bytes_max: config.binance_book_bytes_max,
            window_minutes_max: config.binance_window_minutes_max,
            linger: Duration::from_millis(self.fold_linger_ms),
        }
    }

    /// How much is kept of each topic.
    #[must_use]
    pub(crate) fn depth(&self) -> Depth {
        Depth {
            closed_bars: self.closed_bars.max(1),
            closed_log: self.closed_log,
            lag_max: Duration::from_millis(self.stall_deadline_ms).saturating_add(LAG_MORE),
            hold: Duration::from_millis(self.closed_hold_ms),
            burst_max: self.closed_burst_max,
            hold_bytes_max: self.closed_hold_bytes_max,
            log_entries: self.log_entries.max(1),
            log_burst_max: self.log_burst_max,
            log_hold_bytes_max: self.log_hold_bytes_max,
            earlier_books: usize::from(self.earlier_books),
        }
    }

    /// What publications may be.
    #[must_use]
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            bytes_max: self.publication_bytes_max,
            future_max_ms: i64::try_from(self.future_max_ms).unwrap_or(i64::MAX),
        }
    }

    /// The names that topics may have.
    #[must_use]
    pub(crate) fn names(&self) -> Names {
        let Self {
            subjects,
            known_timeframes,
            known_exchanges,
            ..
        } = self;
        Names::new(subjects, known_timeframes, known_exchanges)
    }

    /// Which addresses are one client.
    #[must_use]
    pub(crate) fn address_groups(&self) -> AddressGroups {
        AddressGroups::new(self.client_ipv6_prefix_bits)
    }

    fn compression(&self) -> Compression {
        Compression {
            level: self.compression_level,
            message_bytes_min: self.compression_bytes_min,
        }
    }

    fn handshake_allowance(&self) -> Allowance {
        let per_second = self
            .handshake_rate_per_ip
            .unwrap_or(HANDSHAKE_RATE_PER_IP_DEFAULT);
        Allowance {
            per_second,
            burst: per_second.saturating_mul(2),
            holds_for_loopback: self.handshake_rate_per_ip.is_some(),
        }
    }

    fn request_limits(&self) -> RequestLimits {
        RequestLimits {
            topics_max: self.request_topics_max,
            wildcards_max: self.request_wildcards_max,
        }
    }
}
