//! One request: checked, read, answered.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER, UPGRADE};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::body::{self, AnswerBody, Unread};
use super::guard::Activity;
use super::metrics::Refusal;
use super::options::Limits;
use super::service::{ApiBody, ApiRequest, REQUEST_ID, Service};
use super::{Room, admin};

/// The header that names the operation of AWS' JSON and CBOR protocols.
const TARGET: &str = "x-amz-target";
/// How much of a name that a client chose goes into a log.
const LOGGED_BYTES: usize = 128;

/// Answers one request. Whatever fails is an answer, too.
pub(super) async fn answer<S: Service>(
    room: Arc<Room<S>>,
    activity: Arc<Activity>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Infallible> {
    let began = Instant::now();
    let mut in_flight = activity.request();
    let _counted = room.metrics.in_flight();
    let (head, body) = request.into_parts();
    let in_stream = head.version == Version::HTTP_2;
    let logged = tracing::enabled!(tracing::Level::DEBUG).then(|| Logged::of(&head));
    // On the heap: the library keeps room for this future as long as the connection lasts, also while it is idle.
    let responded = Box::pin(respond(&room, peer, head, body)).await;
    let held = responded.and_then(|response| {
        let (head, body) = response.into_parts();
        let body = room.budget.hold(body).map_err(|unread| Refused::unread(unread, &room.options.limits))?;
        Ok(Response::from_parts(head, body))
    });
    let response = held.unwrap_or_else(|refused| {
        room.metrics.refused(refused.why);
        refused.response(&room)
    });
    if let Some(Logged { method, path, target }) = logged {
        let status = response.status().as_u16();
        let micros = began.elapsed().as_micros() as u64;
        let request_id = response.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok());
        tracing::debug!(%peer, %method, path, target, status, micros, request_id, "request");
    }
    if in_stream {
        in_flight.goes_into_stream();
    } else if response.headers().contains_key(CONNECTION) {
        activity.ends();
    }
    Ok(response.map(|body| AnswerBody::new(body, in_flight, &room.stop)))
}

/// What a log says of a request: no query, which may be a signature, and nothing of other headers.
struct Logged {
    method: Method,
    path: String,
    target: Option<String>,
}

impl Logged {
    fn of(head: &Parts) -> Logged {
        let cut = |text: &str| text.chars().filter(|c| !c.is_control()).take(LOGGED_BYTES).collect();
        let target = head.headers.get(TARGET).and_then(|value| value.to_str().ok()).map(cut);
        Logged { method: head.method.clone(), path: cut(head.uri.path()), target }
    }
}

async fn respond<S: Service>(
    room: &Room<S>,
    peer: SocketAddr,
    head: Parts,
    body: Incoming,
) -> Result<Response<ApiBody>, Refused> {
    check_head(&head, room.options.limits.headers)?;
    let for_service = head.headers.contains_key(TARGET) || head.method == Method::POST && head.uri.path() == "/";
    if !for_service {
        return admin::respond(room, head, body).await;
    }
    let plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if !head.headers.get_all(CONTENT_ENCODING).iter().all(plain) {
        let message = "a body must not be compressed: no operation takes Content-Encoding";
        return Err(Refused::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Refusal::Encoding,
            "UnsupportedMediaType",
            message,
        ));
    }
    let admitted = match room.service.admit(&head, peer) {
        Ok(admitted) => admitted,
        Err(refusal) => return Ok(closing(*refusal)),
    };
    let body = read(room, body).await?;
    let request = ApiRequest { body, peer, budget: room.budget.clone() };
    Ok(room.service.call(request, admitted).await)
}

/// Reads the body of a request.
pub(super) async fn read<S>(room: &Room<S>, body: Incoming) -> Result<Bytes, Refused> {
    let limits = &room.options.limits;
    body::read(body, limits, &room.budget).await.map_err(|unread| Refused::unread(unread, limits))
}

/// What no service needs to look at: who asks like this wants to be read in two ways, or something else than HTTP.
fn check_head(head: &Parts, headers_max: usize) -> Result<(), Refused> {
    let bad = |message: &str| Err(Refused::new(StatusCode::BAD_REQUEST, Refusal::Head, "BadRequest", message));
    if head.headers.len() > headers_max {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Refused::new(status, Refusal::Headers, "BadRequest", "there are too many headers"));
    }
    if head.method == Method::CONNECT {
        return bad("this is no proxy");
    }
    if head.headers.get_all(HOST).iter().count() > 1 {
        return bad("there is more than one Host");
    }
    if head.version < Version::HTTP_2 {
        if head.uri.scheme().is_some() || head.uri.authority().is_some() {
            return bad("the target must be a path: this is no proxy");
        }
        if head.version == Version::HTTP_11 && !head.headers.contains_key(HOST) {
            return bad("there is no Host");
        }
        // An offer of HTTP/2 may be ignored (RFC 9110, section 7.8), and Java's client makes one with each first request.
        let offers = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"h2c");
        if !head.headers.get_all(UPGRADE).iter().all(offers) {
            return bad("there is nothing to upgrade to; HTTP/2 is spoken with prior knowledge, or by TLS");
        }
    }
    Ok(())
}

/// A request that no service answers.
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) why: Refusal,
    /// As `__type` in the body.
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Refused {
    pub(super) fn new(status: StatusCode, why: Refusal, code: &'static str, message: impl Into<String>) -> Refused {
        Refused { status, why, code, message: message.into() }
    }

    fn unread(unread: Unread, limits: &Limits) -> Refused {
        let (status, code, message) = match unread {
            Unread::TooLarge => {
                let message = format!("a body may have {} bytes", limits.body_bytes);
                (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLargeException", message)
            }
            Unread::TooSlow => {
                let message = format!("a body may take {} s", limits.body_time.as_secs_f32());
                (StatusCode::REQUEST_TIMEOUT, "RequestTimeoutException", message)
            }
            Unread::NoRoom => {
                (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableException", body::NO_ROOM.to_owned())
            }
            Unread::Broken => (StatusCode::BAD_REQUEST, "SerializationException", "the body is broken".to_owned()),
        };
        Refused { status, why: unread.refusal(), code, message }
    }

    /// The answer, in the form of AWS' JSON protocol. Unless nothing is wrong with the connection, it ends behind it: of the
    /// body that was not read nothing may be taken for a request.
    fn response<S>(self, room: &Room<S>) -> Response<ApiBody> {
        let response = fault(self.status, self.code, &self.message, &room.request_id());
        if matches!(self.why, Refusal::Path | Refusal::Origin) { response } else { closing(response) }
    }
}

/// An error as the services' JSON protocol has it.
pub(super) fn fault(status: StatusCode, code: &str, message: &str, request_id: &str) -> Response<ApiBody> {
    let body = serde_json::json!({ "__type": code, "message": message }).to_string();
    let mut response = Response::new(ApiBody::Whole(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1"));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, id);
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// The connection ends behind this answer. HTTP/2 has no such header; there, only the stream ends.
fn closing(mut response: Response<ApiBody>) -> Response<ApiBody> {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// An answer of the server itself.
pub(super) fn own(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Response<ApiBody> {
    let body = body.into();
    let mut response = Response::new(ApiBody::Whole(body.clone()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    response
}
