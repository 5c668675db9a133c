//! The parameters of a question.

use axum::http::Uri;
use market_core::{Symbol, UnixMillis};

use super::error::ApiError;
use super::time;
use crate::Width;
use crate::store::Order;

/// The parameter with the client's token, which every question may have. It is checked before the
/// others are read.
const TOKEN: &str = "token";
/// The most bytes of a query string, of which the token is one half.
const BYTES_MAX: usize = 8_192;
/// The most parameters.
const COUNT_MAX: usize = 32;

/// The parameters of one request, each of them known and given once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Reads a query string.
    ///
    /// # Errors
    /// If it is too long, or has a parameter that is not one of `known`, or one twice.
    pub(crate) fn read(uri: &Uri, known: &[&str]) -> Result<Self, ApiError> {
        let params = Self::read_any(uri)?;
        let unknown = params
            .0
            .iter()
            .find(|(name, _)| !known.contains(&name.as_str()));
        if let Some((name, _)) = unknown {
            let name: String = name.chars().take(32).collect();
            let known = match known {
                [] => "none is known here".to_owned(),
                known => format!("write {}", known.join(", ")),
            };
            let message = format!("unknown parameter '{name}': {known}");
            return Err(ApiError::bad("bad_parameter", message));
        }
        Ok(params)
    }

    /// Reads a query string with parameters of any name.
    ///
    /// # Errors
    /// If it is too long, or has a parameter twice.
    pub(crate) fn read_any(uri: &Uri) -> Result<Self, ApiError> {
        let query = uri.query().unwrap_or_default();
        if query.len() > BYTES_MAX {
            let message = format!("the query string has more than {BYTES_MAX} bytes");
            return Err(ApiError::bad("bad_parameter", message));
        }
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri);
        let Ok(axum::extract::Query(pairs)) = pairs else {
            let message = "the query string cannot be read: write name=value, joined by '&'";
            return Err(ApiError::bad("bad_parameter", message));
        };
        if pairs.len() > COUNT_MAX {
            let message = format!("at most {COUNT_MAX} parameters can be given");
            return Err(ApiError::bad("bad_parameter", message));
        }
        for (index, (name, _)) in pairs.iter().enumerate() {
            if pairs[..index].iter().any(|(before, _)| before == name) {
                let name: String = name.chars().take(32).collect();
                let message = format!("parameter '{name}' is given twice");
                return Err(ApiError::bad("bad_parameter", message));
            }
        }
        let of_question = pairs.into_iter().filter(|(name, _)| name != TOKEN);
        Ok(Self(of_question.collect()))
    }

    /// The value of a parameter; an empty one counts as absent.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let pair = self.0.iter().find(|(other, _)| other == name);
        pair.map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    pub(crate) fn symbol(&self) -> Result<Symbol, ApiError> {
        let text = self.text("symbol").ok_or_else(|| {
            ApiError::bad("bad_symbol", "a symbol is needed: write symbol=BTC-USD")
        })?;
        symbol(text)
    }

    pub(crate) fn width(&self) -> Result<Width, ApiError> {
        let text = self.text("width").unwrap_or("1m");
        text.parse()
            .map_err(|error: crate::ParseWidthError| ApiError::bad("bad_width", error.to_string()))
    }

    pub(crate) fn time(&self, name: &str) -> Result<Option<UnixMillis>, ApiError> {
        let time = self.text(name).map(time::parse).transpose();
        time.map_err(|error| ApiError::bad("bad_time", format!("{name}: {error}")))
    }

    /// How many rows are asked for, between 1 and `max`.
    pub(crate) fn limit(&self, default: usize, max: usize) -> Result<usize, ApiError> {
        let Some(text) = self.text("limit") else {
            return Ok(default.min(max));
        };
        let limit = text.parse().ok().filter(|limit| (1..=max).contains(limit));
        limit.ok_or_else(|| {
            let message = format!("limit: write a number from 1 to {max}, and page with `next`");
            ApiError::bad("bad_limit", message)
        })
    }

    pub(crate) fn order(&self) -> Result<Order, ApiError> {
        match self.text("order") {
            None => Ok(self.default_order()),
            Some("asc") => Ok(Order::Ascending),
            Some("desc") => Ok(Order::Descending),
            Some(_) => Err(ApiError::bad(
                "bad_order",
                "order: write asc (the oldest first) or desc",
            )),
        }
    }

    /// Without a start, the newest rows are meant.
    fn default_order(&self) -> Order {
        match self.text("from") {
            Some(_) => Order::Ascending,
            None => Order::Descending,
        }
    }

    pub(crate) fn has_flat_bars(&self) -> Result<bool, ApiError> {
        match self.text("fill") {
            None | Some("flat") => Ok(true),
            Some("none") => Ok(false),
            Some(_) => Err(ApiError::bad(
                "bad_fill",
                "fill: write flat or none (no bars of intervals without trades)",
            )),
        }
    }

    pub(crate) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => {
                let message = format!("{name}: write true or false");
                Err(ApiError::bad("bad_parameter", message))
            }
        }
    }
}

/// Reads a symbol.
pub(crate) fn symbol(text: &str) -> Result<Symbol, ApiError> {
    text.parse()
        .map_err(|error: market_core::ParseSymbolError| {
            ApiError::bad("bad_symbol", error.to_string())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Params, ApiError> {
        let uri = format!("/api/v1/bars?{query}").parse().expect("a URI");
        Params::read(&uri, &["symbol", "limit", "from", "order"])
    }

    #[test]
    fn an_unknown_or_repeated_parameter_is_refused_with_the_known_ones() {
        let error = read("symbl=BTC-USD").expect_err("misspelt");
        assert!(error.message.contains("symbol, limit"), "{error}");
        let error = read("limit=1&limit=2").expect_err("twice");
        assert!(error.message.contains("twice"), "{error}");
        let long = format!("symbol={}", "A".repeat(9_000));
        assert_eq!(read(&long).expect_err("long").code, "bad_parameter");
    }

    #[test]
    fn values_are_checked_and_errors_say_what_to_write() {
        let params = read("symbol=BTC-USD&limit=10").expect("parameters");
        assert_eq!(params.limit(500, 5_000), Ok(10));
        assert_eq!(params.order(), Ok(Order::Descending));
        for query in ["limit=0", "limit=5001", "limit=-1", "limit=x", "limit=1e3"] {
            let error = read(query).expect("parameters").limit(500, 5_000);
            assert!(error.expect_err(query).message.contains("1 to 5000"));
        }
        assert_eq!(read("limit=").expect("empty").limit(500, 5_000), Ok(500));
        let params = read("from=0").expect("parameters");
        assert_eq!(params.order(), Ok(Order::Ascending));
        assert_eq!(params.time("from"), Ok(Some(0)));
        let error = read("symbol=btcusd").expect("parameters").symbol();
        assert!(
            error
                .expect_err("lower case")
                .message
                .contains("BASE-QUOTE")
        );
    }
}
