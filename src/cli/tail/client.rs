//! A client of one server: requests in JSON, one after the other, on a connection that is kept.

use std::io;
use std::time::Duration;

use http::{HeaderValue, Request};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cli::Failure;
use crate::cli::http::{Answer, Connection, Endpoint};
use crate::cli::time::now_ms;
use crate::server::AccessKey;
use crate::server::auth::sign;
use crate::wire::Protocol;
use crate::wire::kinesis::TARGET_PREFIX;

/// An answer comes within a second or so; a server that takes longer is not there.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Client {
    endpoint: Endpoint,
    key: AccessKey,
    region: String,
    connection: Option<Connection>,
}

/// Why there is no answer.
pub(super) enum Refused {
    /// Nobody answers.
    Away(String),
    /// The service said no.
    Said { code: String, message: String },
    /// Something else is wrong.
    Failed(Failure),
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Failure {
        match refused {
            Refused::Away(why) => Failure::Other(why),
            Refused::Said { code, message } if code == "ResourceNotFoundException" => Failure::NotFound(message),
            Refused::Said { code, message } => Failure::Other(format!("{code}: {message}")),
            Refused::Failed(failure) => failure,
        }
    }
}

impl From<crate::Error> for Refused {
    fn from(error: crate::Error) -> Refused {
        Refused::Failed(error.into())
    }
}

impl Client {
    pub(super) fn new(endpoint: &str) -> Result<Client, Failure> {
        let variable = |name: &str, default: &str| {
            std::env::var(name).ok().filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned())
        };
        let key = AccessKey::new(variable("AWS_ACCESS_KEY_ID", "test"), variable("AWS_SECRET_ACCESS_KEY", "test"))?;
        let region = variable("AWS_REGION", "us-east-1");
        Ok(Client { endpoint: Endpoint::parse(endpoint)?, key, region, connection: None })
    }

    /// Calls an operation.
    pub(super) fn call<I: Serialize, O: DeserializeOwned>(&mut self, operation: &str, input: &I) -> Result<O, Refused> {
        let body = Protocol::Json.encode(input);
        let request = self.request(operation, &body)?;
        // A connection that was kept may have been closed meanwhile: then, and only then, there is a second try.
        let kept = self.connection.is_some();
        let answer = match self.exchange(&request) {
            Err(_) if kept => self.exchange(&request),
            other => other,
        };
        let Answer { status, body, .. } =
            answer.map_err(|error| Refused::Away(format!("no server answers at {}: {error}", self.endpoint)))?;
        if status != 200 {
            let told: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            let text = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
            let code = Some(text("__type")).filter(|code| !code.is_empty()).unwrap_or_else(|| format!("HTTP {status}"));
            return Err(Refused::Said { code, message: text("message") });
        }
        Protocol::Json.read(&body).map_err(|error| {
            Refused::Failed(Failure::Other(format!("the answer to {operation} can't be read: {}", error.message)))
        })
    }

    /// A whole request, signed.
    fn request(&self, operation: &str, body: &[u8]) -> Result<Vec<u8>, Refused> {
        let failed = |error: http::Error| Refused::Failed(Failure::Other(format!("no request can be made: {error}")));
        let request = Request::post("/")
            .header("host", &self.endpoint.authority)
            .header("content-type", Protocol::Json.content_type())
            .header("x-amz-target", format!("{TARGET_PREFIX}.{operation}"))
            .body(())
            .map_err(failed)?;
        let (mut head, ()) = request.into_parts();
        sign(&mut head, body, &self.key, "kinesis", &self.region, now_ms())
            .map_err(|error| Refused::Failed(Failure::Other(error.to_string())))?;
        head.headers.insert("content-length", HeaderValue::from(body.len()));
        let mut bytes = b"POST / HTTP/1.1\r\n".to_vec();
        for (name, value) in &head.headers {
            bytes.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body);
        Ok(bytes)
    }

    fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.endpoint.connect(PATIENCE)?,
        };
        let answer = connection.exchange(request)?;
        if answer.stays {
            self.connection = Some(connection);
        }
        Ok(answer)
    }
}
