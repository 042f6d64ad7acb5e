//! `braidlog serve`: the AWS-compatible server until it is told to end.
//!
//! Standard output says where it listens and, as its last line, `Ready.`, which tools that start it wait for; the log goes to
//! standard error.

mod args;
mod limits;
mod log;
mod store;

use std::io::Write;
use std::path::Path;

use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

pub(crate) use args::Args;

use super::{Context, Failure};
use crate::server::{Resources, Server, endpoint};

pub(crate) fn run(context: &mut Context, args: Args) -> Result<(), Failure> {
    log::start(args.log, args.log_format);
    // Before anything is opened: what comes while it starts ends it, too.
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(Failure::io("listen for signals"))?;
    // Refused before there is a store.
    let mut options = args.server_options()?;
    options.check()?;
    let resources =
        args.resources.as_deref().map(|path| Resources::parse(&read(path)?).map_err(|e| at(path, e))).transpose()?;
    raise_file_limit(options.limits.connections);
    let opened = store::open(context, &args)?;
    options.test_clock = opened.clock.clone();
    if let Some(resources) = resources {
        let made = resources.make(&opened.engine)?;
        tracing::info!(made, "streams and consumers of the resources file are there");
    }
    let (with_tls, signed) = (options.tls.is_some(), options.authenticates());
    let server = Server::start_with(opened.engine.clone(), options)?;
    if with_tls {
        signals.add_signal(SIGHUP).map_err(Failure::io("listen for signals"))?;
    }
    announce(context, &server, with_tls, signed)?;
    for signal in signals.forever() {
        if signal == SIGHUP {
            read_certificate_again(&args, &server);
            continue;
        }
        tracing::info!(signal, "told to end");
        break;
    }
    server.stop();
    context.closed(opened.engine.clone().close())
}

/// New handshakes go by what the files have now, if that is a certificate that can be used.
fn read_certificate_again(args: &Args, server: &Server) {
    match args.tls().and_then(|identity| Ok(identity.map(|identity| server.set_tls(identity)).transpose()?)) {
        Ok(_) => tracing::info!("the certificate was read again"),
        Err(error) => tracing::error!(%error, "the certificate can't be used; the one before stays"),
    }
}

/// Where it listens, who may call, and that it is ready.
fn announce(context: &mut Context, server: &Server, with_tls: bool, signed: bool) -> Result<(), Failure> {
    for address in server.addresses() {
        let endpoints = ["http", "https"].into_iter().take(if with_tls { 2 } else { 1 });
        for endpoint in endpoints.map(|scheme| endpoint(scheme, *address)) {
            if context.json {
                writeln!(context.out, "{}", json!({ "listening": endpoint }))?;
            } else {
                writeln!(context.out, "Listening on {endpoint}")?;
            }
        }
    }
    if context.json {
        writeln!(context.out, "{}", json!({ "authentication": signed }))?;
        writeln!(context.out, "{}", json!({ "ready": true }))?;
    } else {
        let line = if signed { "on: requests must be signed" } else { "off: whoever can connect may do anything" };
        writeln!(context.out, "Authentication is {line}")?;
        writeln!(context.out, "Ready.")?;
    }
    // Who started us may have closed it; the server serves all the same.
    let _ = context.out.flush();
    Ok(())
}

/// The text of a file that the command line names.
fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(Failure::io(format!("read {}", path.display())))
}

fn at(path: &Path, error: crate::Error) -> Failure {
    Failure::from(error).at(path.display().to_string())
}

/// Each connection takes a file descriptor; shells allow 1,024 by default, and as many as the system's hard limit if asked.
fn raise_file_limit(connections: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // The store's files, and some besides.
    let wanted = connections as u64 + 4096;
    if current.is_some_and(|current| current < wanted) {
        let raised = maximum.map_or(wanted, |maximum| maximum.min(wanted));
        let limit = Rlimit { current: Some(raised), maximum };
        if setrlimit(Resource::Nofile, limit).is_err() || raised < wanted {
            tracing::warn!(raised, wanted, "fewer files may be open than connections are allowed");
        }
    }
}
