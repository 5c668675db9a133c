//! The marketdata program: see the library.

use std::io::{BufWriter, stdout};

use clap::{Parser, Subcommand};
use marketdata::replay::{self, ReplayConfig};

/// Exchange frames in, bars out.
#[derive(Parser)]
#[command(name = "marketdata", version, args_conflicts_with_subcommands = true)]
struct Program {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Replay captured frames and print the bars that they make
    Replay(ReplayConfig),
}

fn main() -> anyhow::Result<()> {
    match Program::parse().command {
        Some(Command::Replay(config)) => {
            let mut out = BufWriter::new(stdout().lock());
            let summary = replay::run(&config, &mut out)?;
            eprintln!("{summary:?}");
        }
        None => {}
    }
    Ok(())
}
