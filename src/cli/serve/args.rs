//! The command line of `serve`, and what it asks of the server.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use zeroize::Zeroizing;

use super::limits::LimitArgs;
use super::log::{Format, Level};
use super::{Failure, at, read};
use crate::cli::units::{OrNone, parse_duration, parse_duration_or_none};
use crate::server::{AccessKey, ServerOptions, TlsIdentity};
use crate::stream::ThroughputLimits;

const KEY_ID_VARIABLE: &str = "BRAIDLOG_ACCESS_KEY_ID";
const SECRET_VARIABLE: &str = "BRAIDLOG_SECRET_ACCESS_KEY";

const AFTER_HELP: &str = "\
Credentials: without any, everybody who can connect may do anything, and it listens only on loopback. --credentials names a file
like ~/.aws/credentials; BRAIDLOG_ACCESS_KEY_ID and BRAIDLOG_SECRET_ACCESS_KEY are one more key. An id of 12 digits is an account.

Resources: a TOML file of streams to make where they are not there yet:
  [[streams]]
  name = \"clicks\"
  shards = 4
  mode = \"provisioned\"          # or \"on-demand\"
  retention_hours = 48
  consumers = [\"dashboard\"]";

/// What becomes of calls beyond the service's limits of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ThroughputName {
    /// Nothing: a shard takes what the machine can
    Off,
    /// They are let through, and counted
    Report,
    /// They are refused, as the service does
    Enforce,
}

impl From<ThroughputName> for ThroughputLimits {
    fn from(name: ThroughputName) -> Self {
        match name {
            ThroughputName::Off => ThroughputLimits::Off,
            ThroughputName::Report => ThroughputLimits::Report,
            ThroughputName::Enforce => ThroughputLimits::Enforce,
        }
    }
}

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Address to listen at
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    host: String,
    /// Port to listen at; 0 for one that is free, which is printed
    #[arg(long, default_value_t = 4566)]
    port: u16,
    /// A further address to listen at; may be given more than once
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Vec<String>,
    /// Certificates in PEM: TLS is spoken on the same ports. SIGHUP reads them and the key again
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// File of access keys that requests must be signed with
    #[arg(long, value_name = "FILE")]
    credentials: Option<PathBuf>,
    /// Listen beyond loopback though everybody may call
    #[arg(long)]
    allow_anonymous: bool,
    /// Allow POST /_braidlog/reset, which deletes all streams [default: on loopback without credentials]
    #[arg(long, value_name = "BOOL")]
    allow_reset: Option<bool>,
    /// Account in ARNs
    #[arg(long, value_name = "ID", default_value = "000000000000")]
    pub(super) account: String,
    /// Region in ARNs
    #[arg(long, value_name = "NAME", default_value = "us-east-1")]
    pub(super) region: String,
    /// Keep everything in memory, and nothing when it ends
    #[arg(long)]
    pub(super) in_memory: bool,
    /// TOML file of streams to make at the start
    #[arg(long, value_name = "FILE")]
    pub(super) resources: Option<PathBuf>,
    /// Let clients read and move the engine's clock through /_braidlog/clock
    #[arg(long)]
    pub(super) test_clock: bool,
    /// Refuse members of requests that the service doesn't know
    #[arg(long)]
    strict: bool,
    /// Keep who asked for what, and what came of it, in the stream braidlog-audit
    #[arg(long)]
    audit: bool,
    /// What becomes of calls beyond the service's limits of a shard
    #[arg(long, value_enum, value_name = "WHAT", default_value = "off")]
    pub(super) throughput_limits: ThroughputName,
    /// How long streams are CREATING, UPDATING and DELETING, and consumers likewise [default: they change at once]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(super) transition_time: Option<Duration>,
    /// Within this time everything stored is read and verified once; "none" for never [default: 28d; none with --in-memory]
    #[arg(long, value_name = "TIME", value_parser = parse_duration_or_none)]
    pub(super) scrub_period: Option<OrNone<Duration>>,
    /// Threads that serve connections
    #[arg(long, value_name = "N", default_value_t = 2)]
    threads: usize,
    #[command(flatten)]
    limits: LimitArgs,
    /// How much the log on standard error tells
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "info")]
    pub(super) log: Level,
    /// How it tells it
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub(super) log_format: Format,
}

impl Args {
    /// What is asked of the server, all but the clock.
    pub(super) fn server_options(&self) -> Result<ServerOptions, Failure> {
        let mut options =
            ServerOptions::new().listen(self.addresses()?).worker_threads(self.threads).limits(self.limits.limits()?);
        options = options.strict(self.strict).audit(self.audit).allow_anonymous(self.allow_anonymous);
        options.allow_reset = self.allow_reset;
        options.tls = self.tls()?;
        options.access_keys = self.access_keys()?;
        let exposed = options.listen.iter().find(|address| !address.ip().is_loopback());
        if let Some(address) = exposed.filter(|_| !options.authenticates() && !options.allow_anonymous) {
            return Err(Failure::Usage(format!(
                "it won't listen at {address}: others than this machine could call, and nobody has to sign; \
                 give --credentials FILE, or --allow-anonymous if that is meant"
            )));
        }
        Ok(options)
    }

    fn addresses(&self) -> Result<Vec<SocketAddr>, Failure> {
        // An IPv6 address may be given as it is.
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let mut addresses = vec![resolve(&self.host, (host, self.port))?];
        for listen in &self.listen {
            addresses.push(resolve(listen, listen.as_str())?);
        }
        Ok(addresses)
    }

    /// The certificate and the key as the files have them now.
    pub(super) fn tls(&self) -> Result<Option<TlsIdentity>, Failure> {
        let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) else { return Ok(None) };
        let identity = TlsIdentity::from_pem(read(certificate)?.as_bytes(), Zeroizing::new(read(key)?).as_bytes());
        Ok(Some(identity.map_err(|error| at(certificate, error))?))
    }

    fn access_keys(&self) -> Result<Vec<AccessKey>, Failure> {
        let mut keys = match &self.credentials {
            Some(path) => AccessKey::parse_file(&Zeroizing::new(read(path)?)).map_err(|error| at(path, error))?,
            None => Vec::new(),
        };
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        match (variable(KEY_ID_VARIABLE), variable(SECRET_VARIABLE)) {
            (Some(id), Some(secret)) => keys.push(AccessKey::new(id, secret)?),
            (None, None) => {}
            _ => return Err(Failure::Usage(format!("{KEY_ID_VARIABLE} and {SECRET_VARIABLE} go together"))),
        }
        Ok(keys)
    }
}

/// The first address of a name: `localhost` has one for each version of IP.
fn resolve(given: &str, address: impl ToSocketAddrs) -> Result<SocketAddr, Failure> {
    let bad = |why: String| Failure::Usage(format!("{given:?} is no address to listen at: {why}"));
    let mut addresses = address.to_socket_addrs().map_err(|error| bad(error.to_string()))?;
    addresses.next().ok_or_else(|| bad("the name has no address".to_owned()))
}
