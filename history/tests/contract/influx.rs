//! A store on a real `InfluxDB` 1.6.

mod faults;

use std::time::Duration;

use history::store::{InfluxStore, RemoteOptions, StoreAddress};
use testkit::influx::InfluxServer;

use crate::Subject;

/// A server with a database of its own.
pub(crate) struct Influx(pub(crate) InfluxServer);

impl Influx {
    pub(crate) fn start() -> Option<Self> {
        InfluxServer::start(&[]).map(Self)
    }
}

/// A store at a URL, which waits long for a busy machine.
pub(crate) fn open(url: &str) -> InfluxStore {
    open_with(url, Duration::from_secs(60))
}

pub(crate) fn open_with(url: &str, timeout: Duration) -> InfluxStore {
    let options = RemoteOptions {
        timeout,
        ..RemoteOptions::default()
    };
    match url.parse() {
        Ok(StoreAddress::Influx(url)) => InfluxStore::new(&url, options).expect("no options"),
        _ => panic!("{url} is none of InfluxDB"),
    }
}

impl Subject for Influx {
    type Store = InfluxStore;

    fn open(&self) -> InfluxStore {
        open(&self.0.url("klinecast"))
    }

    fn divisor(&self) -> usize {
        4
    }
}
