//! The watch over a connection's time.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

use super::guard::{Activity, Overdue};
use super::options::Limits;

/// Rings when a connection can't go on as it is.
pub(super) struct Alarm {
    pub(super) activity: Arc<Activity>,
    /// When a connection that was told to end must have done so.
    pub(super) farewell: Option<Instant>,
    sleep: Pin<Box<Sleep>>,
    armed: Instant,
}

impl Alarm {
    pub(super) fn new(activity: Arc<Activity>, limits: &Limits) -> Alarm {
        let armed = Instant::now() + limits.idle_time;
        Alarm { activity, farewell: None, sleep: Box::pin(sleep_until(armed)), armed }
    }

    /// Ready when the time of a connection on which HTTP is spoken is over.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, limits: &Limits) -> Poll<Overdue> {
        self.poll_due(cx, limits, Activity::due)
    }

    /// The same of one that rests.
    pub(super) fn poll_at_rest(&mut self, cx: &mut Context<'_>, limits: &Limits) -> Poll<Overdue> {
        self.poll_due(cx, limits, Activity::due_at_rest)
    }

    fn poll_due(
        &mut self,
        cx: &mut Context<'_>,
        limits: &Limits,
        due: fn(&Activity, &Limits) -> Option<(Instant, Overdue)>,
    ) -> Poll<Overdue> {
        loop {
            let now = Instant::now();
            let (due, why) = match (due(&self.activity, limits), self.farewell) {
                (None, _) => (now + limits.idle_time, Overdue::Idle),
                (Some((_, Overdue::Idle | Overdue::Rest)), Some(farewell)) => (farewell, Overdue::Idle),
                (Some(due), _) => due,
            };
            // One that moved nearer is set at once; one that moved away is seen when it rings, which costs each request nothing.
            if due < self.armed {
                self.arm(due);
            }
            ready!(self.sleep.as_mut().poll(cx));
            if due <= now {
                return Poll::Ready(why);
            }
            self.arm(due);
        }
    }

    fn arm(&mut self, due: Instant) {
        self.armed = due;
        self.sleep.as_mut().reset(due);
    }
}
