//! Stores that are servers.

use history::store::{ClickHouseStore, RemoteOptions, StoreAddress};
use testkit::clickhouse::ClickHouseServer;

use crate::Subject;

pub(crate) struct ClickHouse(ClickHouseServer);

impl ClickHouse {
    /// `None` where there is no engine.
    pub(crate) fn start() -> Option<Self> {
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        runtime.block_on(ClickHouseServer::start()).map(Self)
    }
}

impl Subject for ClickHouse {
    type Store = ClickHouseStore;

    fn open(&self) -> ClickHouseStore {
        let address = self.0.url("contract").parse().expect("never fails");
        let StoreAddress::ClickHouse(url) = address else {
            panic!("{address}");
        };
        ClickHouseStore::open(&url, RemoteOptions::default()).expect("it answers")
    }

    fn divisor(&self) -> usize {
        10
    }
}
