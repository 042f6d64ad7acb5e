//! What the server answers itself: health, figures, reset, the test clock.

use std::time::Duration;

use http::header::{ALLOW, ORIGIN};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;

use super::Room;
use super::answer::{Refused, own, read};
use super::metrics::{CONTENT_TYPE as METRICS_TYPE, Refusal, health_word};
use super::service::{ApiBody, Service};
use crate::env::{Clock, TestClock};
use crate::{Engine, Error, Health};

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What there is at the paths that are ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Index,
    Health,
    LocalstackHealth,
    Metrics,
    Reset,
    Clock,
}

fn route(path: &str) -> Option<Route> {
    Some(match path {
        "/" => Route::Index,
        "/health" | "/_braidlog/health" => Route::Health,
        "/_localstack/health" => Route::LocalstackHealth,
        "/metrics" => Route::Metrics,
        "/_braidlog/reset" | "/_localstack/state/reset" => Route::Reset,
        "/_braidlog/clock" => Route::Clock,
        _ => return None,
    })
}

pub(super) async fn respond<S: Service>(
    room: &Room<S>,
    head: Parts,
    body: Incoming,
) -> Result<Response<ApiBody>, Refused> {
    let Some(route) = route(head.uri.path()) else {
        return Err(nothing(
            "nothing is here: AWS clients POST to / with X-Amz-Target; GET / tells what else there is",
        ));
    };
    let read_only = matches!(head.method, Method::GET | Method::HEAD);
    if !read_only && head.headers.contains_key(ORIGIN) {
        // A page in a browser on this machine may send requests here, whoever wrote the page.
        let message = "web pages may not do this";
        return Err(Refused::new(StatusCode::FORBIDDEN, Refusal::Origin, "AccessDeniedException", message));
    }
    match (route, read_only) {
        (Route::Index, true) => Ok(own(StatusCode::OK, TEXT, index(room))),
        (Route::Health, true) => Ok(health(&room.engine)),
        (Route::LocalstackHealth, true) => {
            let body = json!({ "services": { "kinesis": "running" }, "edition": "braidlog", "version": VERSION });
            Ok(own(StatusCode::OK, JSON, body.to_string()))
        }
        (Route::Metrics, true) => Ok(own(StatusCode::OK, METRICS_TYPE, room.metrics.text(&room.engine))),
        (Route::Reset, false) if head.method == Method::POST => reset(room).await,
        (Route::Clock, true) => Ok(own(StatusCode::OK, JSON, clock_state(clock_of(room)?))),
        (Route::Clock, false) if head.method == Method::POST => {
            let clock = clock_of(room)?;
            let body = read(room, body).await?;
            move_clock(room, clock, &body).await
        }
        (route, _) => {
            let allowed = match route {
                Route::Reset => "POST",
                Route::Clock => "GET, HEAD, POST",
                _ => "GET, HEAD",
            };
            let mut response = own(StatusCode::METHOD_NOT_ALLOWED, TEXT, format!("use {allowed}\n"));
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            Ok(response)
        }
    }
}

fn nothing(message: impl Into<String>) -> Refused {
    Refused::new(StatusCode::NOT_FOUND, Refusal::Path, "UnknownOperationException", message)
}

fn index<S>(room: &Room<S>) -> String {
    let mut text = format!(
        "Braidlog {VERSION}: an AWS-compatible endpoint for Kinesis Data Streams.\n\n\
         Point an AWS client here: export AWS_ENDPOINT_URL=..., or let `braidlog env` print it.\n\n\
         GET  /health               whether it works, and if not, why\n\
         GET  /_localstack/health   the same for tools that wait for LocalStack\n\
         GET  /metrics              figures for Prometheus\n"
    );
    if room.options.resets() {
        text += "POST /_braidlog/reset      deletes all streams\n";
    }
    if room.options.test_clock.is_some() {
        text += "GET  /_braidlog/clock      the test clock; POST {\"set_ms\": N, \"advance_ms\": N, \"frozen\": BOOL} moves it\n";
    }
    text
}

fn health(engine: &Engine) -> Response<ApiBody> {
    let health = engine.store().health();
    let ok = health == Health::Ok;
    let cause = (!ok).then(|| health.to_string());
    let body = json!({
        "status": if ok { "ok" } else { "failing" },
        "version": VERSION,
        "store": { "health": health_word(&health), "cause": cause },
    });
    own(if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, JSON, body.to_string())
}

async fn reset<S: Service>(room: &Room<S>) -> Result<Response<ApiBody>, Refused> {
    if !room.options.resets() {
        let message = "a reset is off: it is on by default only on loopback and without credentials";
        return Err(Refused::new(StatusCode::FORBIDDEN, Refusal::Path, "AccessDeniedException", message));
    }
    let engine = room.engine.clone();
    let deleted =
        blocking(move || engine.accounts()?.iter().map(Engine::delete_all_streams).sum::<Result<usize, Error>>())
            .await?;
    tracing::info!(deleted, "all streams were deleted by a reset");
    Ok(own(StatusCode::OK, JSON, json!({ "status": "OK", "deleted_streams": deleted }).to_string()))
}

/// Runs what waits for the disk where it holds nobody up.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Refused> {
    let failed = |message: String| {
        Refused::new(StatusCode::INTERNAL_SERVER_ERROR, Refusal::Path, "InternalFailureException", message)
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| failed(error.to_string())),
        Err(error) => Err(failed(error.to_string())),
    }
}

fn clock_of<S>(room: &Room<S>) -> Result<&TestClock, Refused> {
    room.options.test_clock.as_deref().ok_or_else(|| nothing("there is no test clock: start with --test-clock"))
}

fn clock_state(clock: &TestClock) -> String {
    json!({ "now_ms": clock.wall_ms(), "frozen": clock.is_frozen() }).to_string()
}

/// How the clock is to be moved, in this order.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Move {
    frozen: Option<bool>,
    set_ms: Option<u64>,
    advance_ms: Option<u64>,
}

async fn move_clock<S: Service>(room: &Room<S>, clock: &TestClock, body: &[u8]) -> Result<Response<ApiBody>, Refused> {
    let wanted: Move = serde_json::from_slice(body).map_err(|error| {
        let message = format!("a move of the clock is {{\"set_ms\": N, \"advance_ms\": N, \"frozen\": BOOL}}: {error}");
        Refused::new(StatusCode::BAD_REQUEST, Refusal::Path, "SerializationException", message)
    })?;
    match wanted.frozen {
        Some(true) => clock.freeze(),
        Some(false) => clock.thaw(),
        None => {}
    }
    if let Some(ms) = wanted.set_ms {
        clock.set_wall_ms(ms);
    }
    if let Some(ms) = wanted.advance_ms {
        clock.advance(Duration::from_millis(ms));
    }
    // It was moved on purpose: what is due by the new time is done before the answer.
    let engine = room.engine.clone();
    blocking(move || {
        engine.store().accept_clock();
        engine.maintain()
    })
    .await?;
    Ok(own(StatusCode::OK, JSON, clock_state(clock)))
}
