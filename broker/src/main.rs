//! `broker`: nats-server with its streams, as a program.

use broker::{BrokerArgs, Config};
use clap::{Parser, Subcommand};
use service::{Program, ProgramConfig};

/// Starts, supervises and configures nats-server, and administers its streams over HTTP.
#[derive(Parser)]
#[command(name = "broker", version)]
#[command(mut_arg("admin_listen", |arg| arg.default_value("127.0.0.1:9140").env("KLINECAST_BROKER_ADMIN_LISTEN")))]
#[command(mut_arg("drain_deadline_ms", |arg| arg.env("KLINECAST_BROKER_DRAIN_DEADLINE_MS")))]
struct Flags {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    broker: BrokerArgs,

    #[command(flatten)]
    program: ProgramConfig,
}

/// What it does instead of serving.
#[derive(Subcommand)]
enum Command {
    /// Check the configuration (give its flags before the word check), and print the one that nats-server gets; passwords are in it
    Check,
}

fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    let config = Config::load(&flags.broker)?;
    match flags.command {
        Some(Command::Check) => {
            print!("{}", broker::nats_configuration(&config)?);
            Ok(())
        }
        None => serve(config, &flags.program),
    }
}

#[tokio::main]
async fn serve(config: Config, program: &ProgramConfig) -> anyhow::Result<()> {
    let (mut program, log) = match config.published_log_lines() {
        0 => (Program::start(program), None),
        lines_max => {
            let (program, tap) = Program::start_tapped(program, lines_max);
            (program, Some(tap))
        }
    };
    program.serve_admin(None).await?;
    let listener = service::listen(config.listen, "--listen").await?;
    let service = program.service();
    let work = Box::pin(broker::run(config, listener, service, log));
    program.run(work).await
}
