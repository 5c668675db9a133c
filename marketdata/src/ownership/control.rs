//! The operator's side: `/instruments` on the admin side.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::instrument::InstrumentSpec;

/// Most commands that wait.
const COMMANDS_MAX: usize = 16;
/// How long a request waits for its answer. The work continues after it.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// What the operator wants.
#[derive(Debug)]
pub(crate) enum Command {
    /// To see where the instruments stand.
    See,
    /// These should be published here.
    Assign(Vec<InstrumentSpec>),
    /// These should not be published here.
    Revoke(Vec<InstrumentSpec>),
}

/// A command, and where its answer goes.
pub(crate) type Ask = (Command, oneshot::Sender<Answer>);
pub(crate) type Answer = Result<Instruments, Refused>;

/// Where the configured instruments stand, each as `exchange:SYMBOL`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instruments {
    /// Published here.
    pub owned: Vec<String>,
    /// Not published here.
    pub released: Vec<String>,
    /// Being assigned.
    pub assigning: Vec<String>,
    /// Being revoked.
    pub revoking: Vec<String>,
}

/// Why a command was not carried out; the text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not in `--instruments`.
    #[error("{0} is not among --instruments: write it there and start marketdata again")]
    Unknown(InstrumentSpec),
    /// It is changing hands.
    #[error(
        "{0} is being assigned or revoked: ask again when GET /instruments shows it as owned or released"
    )]
    Busy(InstrumentSpec),
    /// The bus does not answer, or the program is stopping.
    #[error("{0}")]
    Failed(String),
    /// It takes longer.
    #[error("it takes longer than {0} s and continues: look at GET /instruments")]
    Slow(u64),
}

/// An operator's side of a marketdata. Clones share it; it serves one marketdata.
#[derive(Clone, Debug)]
pub struct Control {
    asks: mpsc::Sender<Ask>,
    inbox: Arc<Mutex<Option<mpsc::Receiver<Ask>>>>,
    /// What the operator has revoked and not assigned again.
    kept_away: Arc<Mutex<BTreeSet<InstrumentSpec>>>,
}

impl Default for Control {
    fn default() -> Self {
        let (asks, inbox) = mpsc::channel(COMMANDS_MAX);
        Self {
            asks,
            inbox: Arc::new(Mutex::new(Some(inbox))),
            kept_away: Arc::default(),
        }
    }
}

/// The body of a request: `{"instruments":["binance:BTC-USDT"]}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    instruments: Vec<String>,
}

impl Control {
    /// The routes of the admin side. `GET /instruments` shows where each configured instrument
    /// stands. `POST /instruments/assign` and `POST /instruments/revoke` take a JSON body that
    /// names some of them, and answer when it is done.
    pub fn routes(&self) -> Router {
        Router::new()
            .route("/instruments", get(see))
            .route("/instruments/assign", post(assign))
            .route("/instruments/revoke", post(revoke))
            .with_state(self.clone())
    }

    /// Publishes these instruments here. Completes when they are this program's, and the sockets
    /// that carry them are being opened.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn assign(&self, instruments: Vec<InstrumentSpec>) -> Result<Instruments, Refused> {
        self.ask(Command::Assign(instruments)).await
    }

    /// Stops to publish these instruments here. Completes when their last bars and their state are
    /// stored, so that another program can take them over.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn revoke(&self, instruments: Vec<InstrumentSpec>) -> Result<Instruments, Refused> {
        self.ask(Command::Revoke(instruments)).await
    }

    /// Where the instruments stand.
    ///
    /// # Errors
    /// `Failed` if the program is stopping.
    pub async fn see(&self) -> Result<Instruments, Refused> {
        self.ask(Command::See).await
    }

    /// What the operator has revoked over HTTP and not assigned again. Nobody else assigns it.
    pub(crate) fn kept_away(&self) -> BTreeSet<InstrumentSpec> {
        self.kept_away.lock().expect("no holder panics").clone()
    }

    /// The operator has asked for these to be published here, or not to be.
    pub(crate) fn keep_away(&self, instruments: &[InstrumentSpec], is_kept_away: bool) {
        let mut kept_away = self.kept_away.lock().expect("no holder panics");
        for instrument in instruments {
            match is_kept_away {
                true => kept_away.insert(instrument.clone()),
                false => kept_away.remove(instrument),
            };
        }
    }

    /// The commands, for the one task that carries them out.
    pub(crate) fn take_inbox(&self) -> Option<mpsc::Receiver<Ask>> {
        self.inbox.lock().expect("no holder panics").take()
    }

    /// The task has ended, and another one will take the commands.
    pub(crate) fn return_inbox(&self, inbox: mpsc::Receiver<Ask>) {
        *self.inbox.lock().expect("no holder panics") = Some(inbox);
    }

    async fn ask(&self, command: Command) -> Answer {
        let (answer, answered) = oneshot::channel();
        let asked = timeout(ANSWER_DEADLINE, async {
            self.asks.send((command, answer)).await.ok()?;
            answered.await.ok()
        });
        match asked.await {
            Ok(Some(answer)) => answer,
            Ok(None) => Err(Refused::Failed("marketdata is stopping".to_owned())),
            Err(_) => Err(Refused::Slow(ANSWER_DEADLINE.as_secs())),
        }
    }
}

async fn see(State(control): State<Control>) -> Response {
    response(control.see().await)
}

async fn assign(State(control): State<Control>, Json(wanted): Json<Wanted>) -> Response {
    match parse(&wanted) {
        Ok(instruments) => {
            let answer = control.assign(instruments.clone()).await;
            if is_begun(&answer) {
                control.keep_away(&instruments, false);
            }
            response(answer)
        }
        Err(refused) => refused,
    }
}

async fn revoke(State(control): State<Control>, Json(wanted): Json<Wanted>) -> Response {
    match parse(&wanted) {
        Ok(instruments) => {
            let answer = control.revoke(instruments.clone()).await;
            if is_begun(&answer) {
                control.keep_away(&instruments, true);
            }
            response(answer)
        }
        Err(refused) => refused,
    }
}

/// Whether a command is carried out, now or later.
fn is_begun(answer: &Answer) -> bool {
    matches!(answer, Ok(_) | Err(Refused::Slow(_)))
}

#[expect(
    clippy::result_large_err,
    reason = "it is the answer itself, once a request"
)]
fn parse(wanted: &Wanted) -> Result<Vec<InstrumentSpec>, Response> {
    let instruments: Result<Vec<InstrumentSpec>, _> =
        wanted.instruments.iter().map(|text| text.parse()).collect();
    instruments.map_err(|error| (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response())
}

fn response(answer: Answer) -> Response {
    let error = match answer {
        Ok(instruments) => return Json(instruments).into_response(),
        Err(error) => error,
    };
    let status = match &error {
        Refused::Unknown(_) => StatusCode::NOT_FOUND,
        Refused::Busy(_) => StatusCode::CONFLICT,
        Refused::Failed(_) => StatusCode::SERVICE_UNAVAILABLE,
        Refused::Slow(_) => StatusCode::GATEWAY_TIMEOUT,
    };
    (status, format!("{error}\n")).into_response()
}
