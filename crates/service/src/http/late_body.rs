//! Bodies of requests that must arrive whole within a time. A pause between two parts cannot be the
//! bound: a client that sends a byte each second would never reach it.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};

/// A part of the body did not arrive in time.
#[derive(Debug, thiserror::Error)]
#[error("the body did not arrive in time")]
struct LateBody;

/// Whether a body could not be read because it did not arrive in time.
#[must_use]
pub fn is_late_body(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<LateBody>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// A body with the end of its time.
pub(super) struct InTime {
    body: Body,
    late: Pin<Box<Sleep>>,
}

impl InTime {
    /// A request whose body must arrive in this time.
    pub(super) fn request(request: Request, time: Duration) -> Request {
        // Most requests have none.
        if request.body().is_end_stream() {
            return request;
        }
        request.map(|body| {
            let late = Box::pin(sleep(time));
            Body::new(Self { body, late })
        })
    }
}

impl HttpBody for InTime {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let late = self.late.as_mut().poll(context);
        late.map(|()| Some(Err(LateBody.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
