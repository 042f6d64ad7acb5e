//! From a request to the service it is for, and back: target, protocol, caller, dispatch.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, header};
use tokio::sync::mpsc;

use crate::engine::Engine;
use crate::wire::kinesis::{self, ErrorCode, Operation};
use crate::wire::{ApiError, Protocol, event_stream};

use super::audit::{Audit, Entry};
use super::auth::{Authenticator, Credentials, Identity, Unverified};
use super::body::Budget;
use super::kinesis::{About, Kinesis, Reply, blocking};
use super::metrics::Metrics;
use super::options::ServerOptions;
use super::request_id;
use super::service::{ApiBody, ApiRequest, REQUEST_ID, Service};

/// Frames of a subscription that may wait for a slow client; behind them its reader waits.
const EVENTS_WAITING: usize = 2;

/// All AWS services on one engine.
pub(super) struct AwsService {
    engine: Engine,
    /// One for each account that called.
    accounts: RwLock<HashMap<String, Arc<Kinesis>>>,
    authenticator: Authenticator,
    /// So many may be made, besides the engine's own.
    accounts_max: usize,
    strict: bool,
    audit: Option<Audit>,
    metrics: Arc<Metrics>,
}

/// A request whose head is fine.
pub(super) struct Admitted {
    operation: Operation,
    protocol: Protocol,
    caller: Unverified,
    started: Instant,
    request_id: String,
}

/// What becomes known of a request while it is answered.
#[derive(Default)]
struct Known {
    caller: Option<Identity>,
    about: About,
}

type Outcome<T> = Result<T, ApiError>;

impl AwsService {
    pub(super) fn new(engine: Engine, options: &ServerOptions, metrics: Arc<Metrics>) -> crate::Result<AwsService> {
        let authenticator = Authenticator::new(Credentials::of(&options.access_keys), &engine.options().account);
        let audit = options.audit.then(|| Audit::start(&engine, metrics.clone())).transpose()?;
        // Whoever signs was given an account by whoever started the server.
        let accounts_max = if options.authenticates() { usize::MAX } else { options.limits.accounts };
        let (accounts, strict) = (RwLock::default(), options.strict);
        Ok(AwsService { engine, accounts, authenticator, accounts_max, strict, audit, metrics })
    }

    /// Which operation is asked for, in which protocol, and who asks: all that the head alone says. With the protocol to refuse
    /// it in.
    fn look_at(&self, head: &Parts) -> Result<(Operation, Protocol, Unverified), (Protocol, ApiError)> {
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        let content_type = header(header::CONTENT_TYPE.as_str()).unwrap_or_default();
        // Who names no known type is answered in the one that people can read.
        let known = Protocol::of_content_type(content_type);
        let answer_in = known.unwrap_or(Protocol::Json);
        let target = header("x-amz-target").unwrap_or_default();
        let name = target.strip_prefix(kinesis::TARGET_PREFIX).and_then(|rest| rest.strip_prefix('.'));
        let operation = name.and_then(|name| Operation::ALL.iter().find(|operation| operation.name() == name));
        let operation = operation.ok_or_else(|| (answer_in, ApiError::unknown_operation(target)))?;
        let protocol = known.ok_or_else(|| {
            let shown: String = content_type.chars().take(100).collect();
            let why = format!("Content-Type {shown:?} is not application/x-amz-json-1.1 or application/x-amz-cbor-1.1");
            (answer_in, ApiError::serialization(why))
        })?;
        // By the same clock that everything else here goes by: one that is wrong denies.
        let now_ms = self.now_ms();
        let region = self.engine.options().region.as_str();
        let caller = self.authenticator.check(head, "kinesis", Some(region), now_ms);
        let caller = caller.map_err(|error| (protocol, ApiError::from(error)))?;
        Ok((*operation, protocol, caller))
    }

    /// The service as this account sees it.
    async fn kinesis(&self, account: &str) -> Outcome<Arc<Kinesis>> {
        let known = self.accounts.read().unwrap_or_else(PoisonError::into_inner).get(account).cloned();
        if let Some(kinesis) = known {
            return Ok(kinesis);
        }
        // Seen for the first time it gets a catalog, and that is durable.
        let (engine, name, max) = (self.engine.clone(), account.to_owned(), self.accounts_max);
        let opened = blocking("the account", move || engine.for_account_within(&name, max)).await?;
        let failed = |error: crate::Error| match error {
            crate::Error::LimitExceeded { what } => {
                let message = format!("Account {account} is not known here, and {what}.");
                ApiError::of(ErrorCode::LimitExceededException, message)
            }
            error => ApiError::of(ErrorCode::InternalFailureException, error.to_string()),
        };
        let kinesis = Kinesis::new(opened.map_err(failed)?, self.strict, self.audit.is_some(), self.metrics.clone());
        let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
        Ok(accounts.entry(account.to_owned()).or_insert_with(|| Arc::new(kinesis)).clone())
    }

    /// The answer, and what becomes known on the way to it.
    async fn answer(&self, admitted: Admitted, body: Bytes, budget: Budget, known: &mut Known) -> Outcome<Reply> {
        let Admitted { operation, protocol, caller, .. } = admitted;
        let caller = known.caller.insert(caller.verify(&body).map_err(ApiError::from)?);
        let kinesis = self.kinesis(&caller.account).await?;
        if !Kinesis::blocks(operation) && kinesis.has_room(body.len()) {
            return kinesis.put(operation, protocol, &body, &budget, &mut known.about).await;
        }
        let done = blocking(operation.name(), move || {
            let mut about = None;
            (kinesis.call(operation, protocol, &body, &budget, &mut about), about)
        });
        let (reply, about) = done.await?;
        known.about = about;
        reply
    }

    fn now_ms(&self) -> u64 {
        self.engine.store().core().env.clock.wall_ms()
    }
}

fn with_body(protocol: Protocol, status: u16, body: ApiBody) -> Response<ApiBody> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content_type = HeaderValue::from_static(protocol.content_type());
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

fn failure(protocol: Protocol, error: &ApiError) -> Response<ApiBody> {
    let mut response = with_body(protocol, error.status, ApiBody::Whole(protocol.encode_error(error).into()));
    let headers = response.headers_mut();
    headers.insert("x-amzn-errortype", HeaderValue::from_static(error.code));
    if error.status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn named(mut response: Response<ApiBody>, request_id: &str) -> Response<ApiBody> {
    if let Ok(value) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert(REQUEST_ID, value.clone());
        response.headers_mut().insert("x-amz-id-2", value);
    }
    response
}

impl AwsService {
    /// Counts a request that is answered, and writes it down.
    fn note(&self, started: Instant, mut entry: Entry) {
        let elapsed = started.elapsed();
        let (bytes_in, bytes_out) = (entry.bytes_in as u64, entry.bytes_out as u64);
        self.metrics.request(entry.operation, entry.status, elapsed.as_secs_f64(), bytes_in, bytes_out);
        if let Some(audit) = &self.audit {
            (entry.time_ms, entry.micros) = (self.now_ms(), elapsed.as_micros() as u64);
            audit.note(entry);
        }
    }
}

impl Service for AwsService {
    type Admitted = Admitted;

    fn admit(&self, head: &Parts, peer: SocketAddr) -> Result<Admitted, Box<Response<ApiBody>>> {
        let (started, request_id) = (Instant::now(), request_id(&self.engine));
        match self.look_at(head) {
            Ok((operation, protocol, caller)) => Ok(Admitted { operation, protocol, caller, started, request_id }),
            Err((protocol, error)) => {
                let entry = Entry::new(request_id.clone(), peer, "unknown", error.status);
                self.note(started, Entry { error: Some(error.code), ..entry });
                Err(Box::new(named(failure(protocol, &error), &request_id)))
            }
        }
    }

    async fn call(&self, request: ApiRequest, admitted: Admitted) -> Response<ApiBody> {
        let Admitted { operation, protocol, started, .. } = admitted;
        let (request_id, bytes) = (admitted.request_id.clone(), request.body.len());
        let (mut known, mut code) = (Known::default(), None);
        let ApiRequest { body, peer, budget } = request;
        let response = match self.answer(admitted, body, budget, &mut known).await {
            Ok(Reply::Whole(draft)) => with_body(protocol, 200, draft.finish()),
            Ok(Reply::Nothing) => with_body(protocol, 200, ApiBody::Whole(Bytes::new())),
            Ok(Reply::Events(events)) => {
                let (sender, receiver) = mpsc::channel(EVENTS_WAITING);
                tokio::spawn(events.run(sender));
                let mut response = Response::new(ApiBody::Events(receiver));
                let content_type = HeaderValue::from_static(event_stream::CONTENT_TYPE);
                response.headers_mut().insert(header::CONTENT_TYPE, content_type);
                response
            }
            Err(error) => {
                code = Some(error.code);
                failure(protocol, &error)
            }
        };
        let answered = match response.body() {
            ApiBody::Whole(body) | ApiBody::Held(body) => body.len(),
            ApiBody::Events(_) => 0,
        };
        let (account, access_key) = known.caller.map(|caller| (caller.account, caller.access_key)).unzip();
        let entry = Entry::new(request_id.clone(), peer, operation.name(), response.status().as_u16());
        self.note(
            started,
            Entry {
                account,
                access_key: access_key.flatten(),
                resource: known.about,
                error: code,
                bytes_in: bytes,
                bytes_out: answered,
                ..entry
            },
        );
        named(response, &request_id)
    }
}
