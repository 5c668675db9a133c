//! Flags and their defaults.

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    config: Config,
}

#[test]
fn no_flags_give_the_default() {
    assert_eq!(Flags::parse_from(["test"]).config, Config::default());
}

#[test]
fn lists_are_separated_by_commas() {
    let flags = Flags::parse_from([
        "test",
        "--trusted-proxy",
        "127.0.0.1,10.0.0.0/8",
        "--subjects",
        "kline.>",
        "--sessions-per-ip",
        "5",
    ]);
    assert_eq!(flags.config.trusted_proxies.len(), 2);
    assert_eq!(flags.config.subjects, ["kline.>"]);
    assert_eq!(flags.config.sessions_per_ip, Some(5));
}
