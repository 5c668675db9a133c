//! The program: its parts run until it is told to stop or one of them ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{Bus, LogLimit};
use service::{HttpBounds, Service, serve_http};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::command::RuleList;
use crate::config::Config;
use crate::engine::{ActiveRule, Engine};
use crate::error::Error;
use crate::http::{Api, check_window, router};
use crate::lateness::Lateness;
use crate::publisher;
use crate::quotes::{NewestQuotes, QuoteListener};
use crate::reader::{Begin, Reader, next_epoch};
use crate::rule::{Rule, read_rules};
use crate::store::{Commit, Loaded, Outlets, Source, Store, StoredRule};
use crate::webhook::{Signer, Webhook, client};

/// How often the bus is asked whether it is connected.
const BUS_CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// Changes of rules that wait for the reader.
const COMMANDS_MAX: usize = 64;
/// Between two log lines about bars that cannot be read.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Runs alerts until the shutdown.
///
/// Readiness has the conditions `bus` (connected), `store` (it takes what follows from bars) and `bars`
/// (all bars that were published before the start are read).
///
/// # Errors
/// If the configuration, the store, the bus or the listener cannot be used, or a part of the program
/// ends too early.
pub async fn run(
    config: Config,
    bus: Arc<dyn Bus>,
    listener: TcpListener,
    service: Service,
) -> Result<(), Error> {
    crate::metric_help::describe();
    let rules_of_file = rules_of_file(&config)?;
    let signer = signer(&config)?;
    let stream = config.journal.stream().ok_or_else(|| {
        Error::Config(
            "alerts read the journal of the bus: set --journal-bytes-max above 0".to_owned(),
        )
    })?;
    let outlets = Outlets {
        hooks: config.webhook_urls.iter().map(|url| url.name()).collect(),
        queue_max: config.webhook_queue_max,
        age_max_ms: i64::from(config.webhook_age_seconds_max).saturating_mul(1_000),
        recent_max: config.alerts_recent_max,
    };
    let store = Store::open(&config.data_dir, outlets)?;
    let begin = begin(store.load()?, rules_of_file, &config)?;
    store.commit(&begin.commit)?;
    let (commands, received) = mpsc::channel(COMMANDS_MAX);
    let (list, raised) = (RuleList::default(), Arc::new(Notify::new()));
    let address = listener.local_addr()?;
    let api = Api::new(
        &config,
        address,
        commands.clone(),
        Arc::clone(&list),
        store.clone(),
    )?;
    let [connected, stored, caught_up] =
        ["bus", "store", "bars"].map(|name| service.readiness.condition(name));
    connected.unmet("the bus is not connected");
    caught_up.unmet("bars that were published before the start are still read");
    let mut parts: JoinSet<Result<(), Error>> = JoinSet::new();
    let (quotes_wanted, wanted) = watch::channel(Arc::default());
    let quotes = QuoteListener {
        bus: Arc::clone(&bus),
        wanted,
        newest: NewestQuotes::default(),
        symbols_max: config.alerts_symbols_max,
        shutdown: service.shutdown.clone(),
    };
    let reader = Reader {
        bus: Arc::clone(&bus),
        store: store.clone(),
        stream,
        timeframe: config.alerts_timeframe,
        poll: config.poll(),
        lateness: Lateness::new(config.late(), Instant::now()),
        config: config.clone(),
        unpublished_max: config.alerts_unpublished_max,
        unpublished: 0,
        engine: begin.engine,
        sources: begin.sources,
        epoch_max: begin.epoch_max,
        place: None,
        pending: None,
        commands: received,
        list,
        raised: Arc::clone(&raised),
        stored,
        caught_up,
        service: service.clone(),
        quotes: quotes.newest.clone(),
        quotes_wanted,
        unreadable_log: LogLimit::new(LOG_INTERVAL),
        ahead_log: LogLimit::new(LOG_INTERVAL),
    };
    parts.spawn(reader.run());
    parts.spawn(quotes.run());
    let shutdown = service.shutdown.clone();
    parts.spawn(publisher::run(
        Arc::clone(&bus),
        store.clone(),
        commands.clone(),
        Arc::clone(&raised),
        shutdown.clone(),
    ));
    if let Some(signer) = signer {
        let http = client(Duration::from_millis(config.webhook_timeout_ms))?;
        for (index, url) in config.webhook_urls.iter().cloned().enumerate() {
            let webhook = Webhook {
                index,
                url,
                http: http.clone(),
                signer: signer.clone(),
                attempts_max: config.webhook_attempts_max,
                store: store.clone(),
                raised: Arc::clone(&raised),
                shutdown: shutdown.clone(),
            };
            parts.spawn(webhook.run());
        }
    }
    let watched = shutdown.clone();
    parts.spawn(async move {
        loop {
            match bus.is_connected() {
                true => connected.met(),
                false => connected.unmet("the bus is not connected"),
            }
            tokio::select! {
                () = tokio::time::sleep(BUS_CHECK_INTERVAL) => {}
                () = watched.triggered() => return Ok(()),
            }
        }
    });
    info!(%address, "alerts listens");
    let bounds = HttpBounds {
        connections_max: config.alerts_connections_max,
        idle: Duration::from_millis(config.alerts_idle_ms),
    };
    let stop = shutdown.token();
    parts.spawn(async move {
        serve_http("alerts", listener, router(api), bounds, stop).await;
        Ok(())
    });
    while let Some(ended) = parts.join_next().await {
        ended.map_err(|error| Error::Part(error.to_string()))??;
        if !shutdown.is_triggered() {
            return Err(Error::Part("it returned before the shutdown".to_owned()));
        }
    }
    info!("alerts is drained");
    Ok(())
}

fn rules_of_file(config: &Config) -> Result<Vec<Rule>, Error> {
    let Some(path) = &config.rules_file else {
        return Ok(Vec::new());
    };
    let json = std::fs::read(path)
        .map_err(|error| Error::Config(format!("--rules-file {}: {error}", path.display())))?;
    let rules = read_rules(&json)?;
    for rule in &rules {
        rule.check_width(config.width_s())?;
        check_window(rule, config.alerts_window_seconds_max).map_err(Error::Config)?;
    }
    Ok(rules)
}

fn signer(config: &Config) -> Result<Option<Signer>, Error> {
    let wrong = |text: &str| Err(Error::Config(text.to_owned()));
    if let Some(bad) = config.webhook_urls.iter().position(|url| !url.is_usable()) {
        return wrong(&format!(
            "--webhook-url: address {} of the list cannot be used: {}",
            bad + 1,
            crate::webhook::WebhookUrlError
        ));
    }
    for (index, url) in config.webhook_urls.iter().enumerate() {
        if config.webhook_urls[..index].contains(url) {
            return wrong("--webhook-url: an address is there twice");
        }
    }
    match &config.webhook_secret_file {
        _ if config.webhook_urls.is_empty() => Ok(None),
        Some(path) => Signer::read(path).map(Some),
        None => wrong("webhooks are signed: set --webhook-secret-file"),
    }
}

/// The engine of what was stored, with the rules of the file. A rule of the file that is as it was
/// goes on as it was.
fn begin(loaded: Loaded, of_file: Vec<Rule>, config: &Config) -> Result<Begin, Error> {
    let timeframe = config.alerts_timeframe;
    let is_other = loaded.timeframe.is_some_and(|known| known != timeframe);
    let mut commit = Commit {
        timeframe: Some(timeframe),
        ..Commit::default()
    };
    let mut kept: BTreeMap<_, StoredRule> = BTreeMap::new();
    for stored in loaded.rules {
        let name = stored.active.rule.name.clone();
        let is_in_file = of_file.iter().any(|rule| rule.name == name);
        if stored.source == Source::File && !is_in_file {
            commit.rules_removed.push(name);
        } else {
            kept.insert(name, stored);
        }
    }
    let mut epoch_max = loaded.epoch_max;
    let mut changed = Vec::new();
    for rule in of_file {
        let known = kept.get(&rule.name);
        if known.is_some_and(|known| known.source == Source::File && *known.active.rule == rule) {
            continue;
        }
        epoch_max = next_epoch(epoch_max);
        let stored = StoredRule {
            active: ActiveRule {
                rule: rule.into(),
                epoch: epoch_max,
            },
            source: Source::File,
        };
        changed.push(stored.active.clone());
        kept.insert(stored.active.rule.name.clone(), stored.clone());
        commit.rules_put.push(stored);
    }
    for stored in kept.values() {
        stored.active.rule.check_width(config.width_s()).map_err(|error| {
            Error::Config(format!(
                "{error}: start with the --alerts-timeframe of before, and change or remove the rule"
            ))
        })?;
    }
    let mut state = loaded.state;
    let mut gone = Vec::new();
    if is_other {
        warn!(%timeframe, "rules look at bars of another timeframe than before: all begin anew");
        let symbols = std::mem::take(&mut state).symbols.into_iter();
        gone.extend(symbols.map(|(symbol, _)| (symbol, None)));
        commit.rules_put.clear();
        for stored in kept.values_mut() {
            epoch_max = next_epoch(epoch_max);
            stored.active.epoch = epoch_max;
            commit.rules_put.push(stored.clone());
        }
        changed.clear();
    }
    if kept.len() > config.alerts_rules_max {
        return Err(Error::Config(format!(
            "there are {} rules: raise --alerts-rules-max, or take rules out of the file",
            kept.len()
        )));
    }
    let sources = kept
        .values()
        .map(|stored| (stored.active.rule.name.clone(), stored.source))
        .collect();
    let rules = kept.into_values().map(|stored| stored.active).collect();
    let mut engine = Engine::restored(config.alerts_symbols_max, rules, state);
    for active in changed {
        if !engine.has_room(&active.rule) {
            warn!(
                rule = %active.rule.name,
                "not all symbols of a rule are watched from the start: --alerts-symbols-max says how many are watched"
            );
        }
        engine.put(active);
    }
    let (bars, bars_max) = (
        config.bars_of(engine.seconds_max()),
        config.alerts_symbol_bars_max,
    );
    if bars > bars_max {
        return Err(Error::Config(format!(
            "the rules of one symbol look at {bars} bars for each new bar: raise --alerts-symbol-bars-max from {bars_max}, or take rules out of the file"
        )));
    }
    commit.epoch_max = Some(epoch_max);
    commit.changes = engine.take_changes();
    // First they go: a rule may have its symbol followed anew.
    commit.changes.symbols.splice(0..0, gone);
    Ok(Begin {
        engine,
        sources,
        epoch_max,
        commit,
    })
}
