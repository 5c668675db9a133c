//! The number of messages that each subject retains, the same on every bus.

/// The subjects below one first token, and their retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetainedRoot {
    /// First token of the subjects.
    pub root: &'static str,
    /// Messages kept of each subject, the newest ones.
    pub depth_per_subject: usize,
    /// Whether it survives a restart of the NATS server. Messages that are not durable are
    /// published again within about a second, and storing them would only wear out a disk.
    pub durable: bool,
}

/// All retained roots; subjects elsewhere (`market.>`) are not retained.
pub const RETAINED: [RetainedRoot; 4] = [
    RetainedRoot {
        root: "kline",
        depth_per_subject: 1,
        durable: false,
    },
    RetainedRoot {
        root: "closed",
        depth_per_subject: 32,
        durable: true,
    },
    RetainedRoot {
        root: "system",
        depth_per_subject: 1,
        durable: false,
    },
    RetainedRoot {
        root: "state",
        depth_per_subject: 1,
        durable: true,
    },
];

/// The retained root that holds `subject`, which needs a token after the root.
pub(crate) fn retained_root(subject: &str) -> Option<&'static RetainedRoot> {
    let (first, _) = subject.split_once('.')?;
    RETAINED.iter().find(|retained| retained.root == first)
}

/// The retained roots for a message: `kline.>, closed.>, ...`.
pub(crate) fn root_list() -> String {
    let roots: Vec<String> = RETAINED
        .iter()
        .map(|retained| format!("{}.>", retained.root))
        .collect();
    roots.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_the_whole_first_token() {
        let depth = |subject| retained_root(subject).map(|retained| retained.depth_per_subject);
        assert_eq!(depth("closed.1m.BTC-USD"), Some(32));
        assert_eq!(depth("kline.1m.BTC-USD"), Some(1));
        assert_eq!(depth("klines.1m.BTC-USD"), None);
        assert_eq!(depth("kline"), None);
        assert_eq!(depth("market.okx.BTC-USDT.trade"), None);
    }

    #[test]
    fn list_names_every_root() {
        assert_eq!(root_list(), "kline.>, closed.>, system.>, state.>");
    }
}
