//! What the flags of every program say about its traces.

use std::ffi::OsStr;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use clap::builder::TypedValueParser;
use reqwest::Url;

/// Where traces go, how many, and what they may cost.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct TraceConfig {
    /// Trace to an OpenTelemetry collector at this address, over HTTP with protobuf; spans go to its
    /// path /v1/traces. Without it nothing is traced
    #[arg(
        long,
        env = "KLINECAST_OTLP_ENDPOINT",
        hide_env_values = true,
        value_name = "URL",
        value_parser = EndpointParser
    )]
    pub otlp_endpoint: Option<Endpoint>,

    /// Trace one in this many bars. Every revision and every gap is traced anyway. At 20,000 bars a
    /// second, the default gives 2 traces a second
    #[arg(long, env = "KLINECAST_TRACE_ONE_IN", default_value_t = TraceConfig::default().trace_one_in, value_name = "BARS", value_parser = clap::value_parser!(u32).range(1..))]
    pub trace_one_in: u32,

    /// Most spans that wait for the collector; more are dropped and counted
    #[arg(long, env = "KLINECAST_OTLP_SPANS_MAX", default_value_t = TraceConfig::default().otlp_spans_max, value_name = "SPANS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub otlp_spans_max: u32,

    /// Longest time for one request to the collector, ms; its spans are then dropped and counted
    #[arg(long, env = "KLINECAST_OTLP_TIMEOUT_MS", default_value_t = TraceConfig::default().otlp_timeout_ms, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub otlp_timeout_ms: u64,
}

impl Default for TraceConfig {
    fn default() -> TraceConfig {
        TraceConfig {
            otlp_endpoint: None,
            trace_one_in: 10_000,
            otlp_spans_max: 8_192,
            otlp_timeout_ms: 5_000,
        }
    }
}

impl TraceConfig {
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.otlp_timeout_ms)
    }
}

/// The address of a collector. It may hold a password, so neither its text nor its debug text is
/// given out whole.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Url);

impl Endpoint {
    /// Where spans are posted.
    pub(super) fn traces(&self) -> Url {
        let mut url = self.0.clone();
        let path = format!("{}/v1/traces", self.0.path().trim_end_matches('/'));
        url.set_path(&path);
        url
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host) = (self.0.scheme(), self.0.host_str().unwrap_or_default());
        write!(formatter, "{scheme}://{host}")?;
        match self.0.port() {
            Some(port) => write!(formatter, ":{port}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Why an address is none of a collector.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("give the address of a collector, such as http://127.0.0.1:4318, without query")]
pub struct ParseEndpointError;

impl FromStr for Endpoint {
    type Err = ParseEndpointError;

    fn from_str(text: &str) -> Result<Endpoint, ParseEndpointError> {
        let url = Url::parse(text).map_err(|_| ParseEndpointError)?;
        let is_web = matches!(url.scheme(), "http" | "https") && url.has_host();
        if !is_web || url.query().is_some() || url.fragment().is_some() {
            return Err(ParseEndpointError);
        }
        Ok(Endpoint(url))
    }
}

/// The parser for a command line: its error does not repeat the text, as clap's own error does.
#[derive(Clone)]
struct EndpointParser;

impl TypedValueParser for EndpointParser {
    type Value = Endpoint;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Endpoint, clap::Error> {
        let endpoint = value.to_str().ok_or(ParseEndpointError);
        endpoint.and_then(str::parse).map_err(|error| {
            clap::Error::raw(
                clap::error::ErrorKind::ValueValidation,
                format!("--otlp-endpoint (KLINECAST_OTLP_ENDPOINT): {error}\n"),
            )
            .with_cmd(command)
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        trace: TraceConfig,
    }

    #[test]
    fn nothing_is_traced_unless_asked_for() {
        let flags = Flags::try_parse_from(["program"]).expect("no flag is required");
        assert_eq!(flags.trace, TraceConfig::default());
        assert_eq!(flags.trace.otlp_endpoint, None);
    }

    #[test]
    fn spans_are_posted_below_the_path_of_the_endpoint() {
        for (text, traces) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://otel:4318/", "http://otel:4318/v1/traces"),
            ("https://otel/a/b/", "https://otel/a/b/v1/traces"),
        ] {
            let endpoint: Endpoint = text.parse().expect(text);
            assert_eq!(endpoint.traces().as_str(), traces);
        }
    }

    #[test]
    fn an_endpoint_that_is_no_collector_is_refused_and_a_password_is_never_shown() {
        for text in [
            "",
            "otel:4318",
            "ftp://otel",
            "http://otel/?key=1",
            "http://",
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(ParseEndpointError), "{text}");
        }
        for text in ["ftp://name:secret@otel", "http://name:secret@otel/?key=1"] {
            let flag = format!("--otlp-endpoint={text}");
            let refused = Flags::try_parse_from(["program", &flag]).err().expect(text);
            let said = refused.to_string();
            assert!(
                said.contains("--otlp-endpoint") && said.contains("such as http"),
                "{said}"
            );
            assert!(!said.contains("secret"), "{said}");
        }
        let endpoint: Endpoint = "https://name:secret@otel:4318".parse().expect("an address");
        assert_eq!(endpoint.to_string(), "https://otel:4318");
        assert_eq!(format!("{endpoint:?}"), "https://otel:4318");
        let refused = Flags::try_parse_from(["program", "--trace-one-in", "0"]);
        assert!(refused.is_err(), "one in no bars is none");
    }
}
