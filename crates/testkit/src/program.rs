//! One of our programs as a process on free ports.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;

use crate::binary;
use crate::ports;
use crate::process::Process;
use crate::wait::{holds, until};

/// See the module.
#[derive(Debug)]
pub struct Program {
    /// The running process.
    pub process: Process,
    name: &'static str,
    launcher: Vec<String>,
    arguments: Vec<String>,
    admin: SocketAddr,
    http: reqwest::Client,
}

/// Arguments as owned text.
#[must_use]
pub fn arguments(arguments: &[&str]) -> Vec<String> {
    arguments
        .iter()
        .map(|&argument| argument.to_owned())
        .collect()
}

fn spawn(name: &str, launcher: &[String], arguments: &[String]) -> Process {
    let program = binary::find(name);
    let mut command = match launcher.split_first() {
        None => Command::new(program),
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
    };
    command.args(arguments);
    Process::start(name, &mut command)
}

impl Program {
    /// Starts it with its admin side on a free port, and waits for that. For `127.0.0.1:0`, it gets
    /// an address that is still free after a restart.
    pub async fn start(name: &'static str, arguments: Vec<String>) -> Self {
        Self::start_with(Vec::new(), name, arguments).await
    }

    /// The same with a command that runs it, and becomes it, such as `env A=1`.
    pub async fn start_with(
        launcher: Vec<String>,
        name: &'static str,
        mut arguments: Vec<String>,
    ) -> Self {
        for argument in ["--log-format", "json", "--admin-listen", "127.0.0.1:0"] {
            arguments.push(argument.to_owned());
        }
        for argument in &mut arguments {
            if argument == "127.0.0.1:0" {
                *argument = ports::reserve_address().to_string();
            }
        }
        let mut process = spawn(name, &launcher, &arguments);
        let admin = admin_address(&mut process).await;
        let mut this = Self {
            process,
            name,
            launcher,
            arguments,
            admin,
            http: fresh_http(),
        };
        this.set_argument("--admin-listen", admin);
        this
    }

    /// The address that an event of its log names in this field. From then on it is that of
    /// `--listen`, so that the program is there again after a restart.
    ///
    /// # Panics
    /// If the field holds no address.
    pub async fn listens(&mut self, message: &str, field: &str) -> SocketAddr {
        let event = self.process.until_event(message).await;
        let text = event[field].as_str().unwrap_or_default();
        let text = text.trim_start_matches("Some(").trim_end_matches(')');
        let address = text
            .parse()
            .unwrap_or_else(|_| panic!("no address: {event}"));
        self.set_argument("--listen", address);
        address
    }

    fn set_argument(&mut self, flag: &str, address: SocketAddr) {
        if let Some(at) = self.arguments.iter().position(|argument| argument == flag) {
            self.arguments[at + 1] = address.to_string();
        }
    }

    /// Kills it, and starts it again with the same arguments and ports.
    pub async fn restart(&mut self) {
        self.process.kill();
        self.process = spawn(self.name, &self.launcher, &self.arguments);
        admin_address(&mut self.process).await;
    }

    /// Its admin side.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Status and text of an admin page.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn page(&self, path: &str) -> Result<(u16, String), String> {
        let url = format!("http://{}{path}", self.admin);
        let answer = self
            .http
            .get(url)
            .send()
            .await
            .map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        Ok((
            status,
            answer.text().await.map_err(|error| error.to_string())?,
        ))
    }

    /// Status and text of the answer to a POST to the admin side.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn post(&self, path: &str) -> Result<(u16, String), String> {
        self.post_body(path, String::new()).await
    }

    /// As [`Program::post`], with a JSON body.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn post_json(&self, path: &str, body: &Value) -> Result<(u16, String), String> {
        self.post_body(path, body.to_string()).await
    }

    async fn post_body(&self, path: &str, body: String) -> Result<(u16, String), String> {
        let request = self.http.post(format!("http://{}{path}", self.admin));
        let request = request
            .header("X-Klinecast-Admin", "1")
            .header("Content-Type", "application/json")
            .body(body);
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        let text = answer.text().await.map_err(|error| error.to_string())?;
        Ok((status, text))
    }

    /// Waits until it says that it is ready.
    pub async fn until_ready(&self) {
        until(&format!("{} is ready", self.name), async || {
            let (status, why) = self.page("/readyz").await?;
            holds(status == 200, || why)
        })
        .await;
    }

    /// The sum of the metric's series whose labels hold all of `labels`, each as `name="value"`.
    ///
    /// # Panics
    /// If the program does not answer.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let (_, text) = self.page("/metrics").await.expect("its admin side answers");
        sum(&text, name, labels)
    }

    /// Waits until the metric is at least this.
    pub async fn until_metric(&self, name: &str, labels: &[&str], least: f64) {
        until(&format!("{name} {labels:?} of {least}"), async || {
            let value = self.metric(name, labels).await;
            holds(value >= least, || value.to_string())
        })
        .await;
    }
}

/// A client that opens a connection for each request: a kept one may be closed by the server, which
/// is busy, at the very moment of its next use.
///
/// # Panics
/// If there is no TLS provider.
#[must_use]
pub fn fresh_http() -> reqwest::Client {
    let builder = reqwest::Client::builder().pool_max_idle_per_host(0);
    builder.build().expect("the settings are valid")
}

async fn admin_address(process: &mut Process) -> SocketAddr {
    let event = process.until_event("admin pages served").await;
    let address = event["address"].as_str().and_then(|text| text.parse().ok());
    address.unwrap_or_else(|| panic!("no address: {event}"))
}

fn sum(text: &str, name: &str, labels: &[&str]) -> f64 {
    let series = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '));
    let wanted = series.filter(|(series, _)| {
        series.split('{').next() == Some(name) && labels.iter().all(|label| series.contains(label))
    });
    wanted
        .filter_map(|(_, value)| value.parse::<f64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::sum;

    #[test]
    fn series_of_a_metric_are_added_up_by_label() {
        let text = "# TYPE a counter\na{x=\"1\",y=\"2\"} 3\na{x=\"2\"} 4\na_b 5\nb 6\n";
        assert_eq!(sum(text, "a", &[]), 7.0);
        assert_eq!(sum(text, "a", &["x=\"1\"", "y=\"2\""]), 3.0);
        assert_eq!(sum(text, "b", &[]), 6.0);
    }
}
