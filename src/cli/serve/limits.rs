//! What a client may cost, on the command line of `serve`.

use std::time::Duration;

use super::Failure;
use crate::cli::units::{parse_bytes, parse_duration};
use crate::server::Limits;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    /// Connections at a time
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections)]
    connections: usize,
    /// Of these, for one address that is not loopback [default: half]
    #[arg(long, value_name = "N")]
    connections_per_peer: Option<usize>,
    /// Accounts that callers can make by naming them where nobody has to sign
    #[arg(long, value_name = "N", default_value_t = Limits::default().accounts)]
    accounts: usize,
    /// Memory for the bodies of all requests [default: 256MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    body_memory: Option<u64>,
    /// How long a connection may have no request on its way [default: 75s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    idle_time: Option<Duration>,
    /// How long a request's head may take [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    header_time: Option<Duration>,
    /// How long a body may take, beside a second for each 64 KiB, and how long a client may take nothing of an answer [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    body_time: Option<Duration>,
    /// How long a TLS handshake may take [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    handshake_time: Option<Duration>,
}

impl LimitArgs {
    pub(super) fn limits(&self) -> Result<Limits, Failure> {
        let mut limits = Limits::new().connections(self.connections).accounts(self.accounts);
        limits.connections_per_peer = self.connections_per_peer;
        if let Some(bytes) = self.body_memory {
            let too_much = |_| Failure::Usage(format!("--body-memory {bytes} is more than there can be"));
            limits.bodies_bytes = usize::try_from(bytes).map_err(too_much)?;
        }
        for (given, limit) in [
            (self.idle_time, &mut limits.idle_time),
            (self.header_time, &mut limits.header_time),
            (self.body_time, &mut limits.body_time),
            (self.handshake_time, &mut limits.handshake_time),
        ] {
            *limit = given.unwrap_or(*limit);
        }
        Ok(limits)
    }
}
