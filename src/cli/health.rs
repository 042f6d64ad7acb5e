//! `braidlog health`: asks a server whether it works. For health checks of containers, that have no `curl`.

use std::time::Duration;

use serde_json::Value;

use super::env::DEFAULT_ENDPOINT;
use super::http::Endpoint;
use super::{Context, Failure};

/// Answers come within milliseconds; a server that takes longer does not work.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The server. Plain http is spoken on ports with TLS too; for https, AWS_CA_BUNDLE may name certificates to trust
    #[arg(long, value_name = "URL", default_value = DEFAULT_ENDPOINT)]
    endpoint: String,
}

pub(crate) fn run(context: &mut Context, args: Args) -> Result<(), Failure> {
    let endpoint = Endpoint::parse(&args.endpoint)?;
    let request = format!("GET /health HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", endpoint.authority);
    let answer = endpoint.connect(PATIENCE).and_then(|mut connection| connection.exchange(request.as_bytes()));
    let answer = answer.map_err(|error| Failure::Other(format!("no server answers at {endpoint}: {error}")))?;
    let told: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if answer.status != 200 || told["status"] != "ok" {
        let why =
            told["store"]["cause"].as_str().map_or_else(|| format!("it answered {}", answer.status), str::to_owned);
        return Err(Failure::Other(format!("the server at {endpoint} does not work: {why}")));
    }
    let version = told["version"].as_str().unwrap_or("?").to_owned();
    context.answer(told, &format!("ok, version {version}"))
}
