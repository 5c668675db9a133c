//! nats-server's monitoring pages.

use std::time::Duration;

use serde_json::Value;

/// Longest wait for a page.
pub(crate) const PAGE_DEADLINE: Duration = Duration::from_secs(2);
/// Longest page that is read, in bytes.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// What `/healthz` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// All is well.
    Good,
    /// It answers, and says what is not.
    Bad(String),
    /// No answer.
    Silent,
}

/// Reads the pages of one server.
#[derive(Clone, Debug)]
pub(crate) struct Monitor {
    url: String,
    http: reqwest::Client,
}

impl Monitor {
    pub(crate) fn new(url: String) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .timeout(PAGE_DEADLINE)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            // A server that was started again closes the connections of the one before.
            .pool_max_idle_per_host(0)
            .build()?;
        Ok(Self { url, http })
    }

    pub(crate) async fn health(&self) -> Health {
        let Some((status, text)) = self.page("/healthz").await else {
            return Health::Silent;
        };
        if status == 200 {
            return Health::Good;
        }
        let page: Value = serde_json::from_str(&text).unwrap_or_default();
        let reason = page["error"].as_str().unwrap_or("unhealthy");
        Health::Bad(reason.chars().take(300).collect())
    }

    /// The general figures.
    pub(crate) async fn figures(&self) -> Option<Value> {
        let (status, text) = self.page("/varz").await?;
        let page = serde_json::from_str(&text).ok()?;
        (status == 200).then_some(page)
    }

    async fn page(&self, path: &str) -> Option<(u16, String)> {
        let url = format!("{}{path}", self.url);
        let mut answer = self.http.get(url).send().await.ok()?;
        let status = answer.status().as_u16();
        let mut text = Vec::new();
        while let Some(piece) = answer.chunk().await.ok()? {
            if text.len() + piece.len() > PAGE_BYTES_MAX {
                return None;
            }
            text.extend_from_slice(&piece);
        }
        Some((status, String::from_utf8(text).ok()?))
    }
}
