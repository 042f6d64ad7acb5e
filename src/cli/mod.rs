//! The `braidlog` program: one file per subcommand.
//!
//! Three rules hold for all of them:
//!
//! 1. Standard output carries the result and nothing else; notes, warnings, bars and errors go to standard error. With
//!    `--json` the result is JSON, one value a line.
//! 2. Who only looks opens the store read-only: `cat`, `ls`, `info`, `stream list` change nothing, not even a lock's text.
//! 3. The exit code says what kind of failure it was: 0 none, 1 it failed, 2 called wrongly, 3 damage found, 4 no such store,
//!    log, file or position, 5 locked, busy or full. A command that SIGINT or SIGTERM ends before it is done ends by that signal,
//!    once it has said how far it got. A reader that closes our output, like `head`, is no failure.

mod agent;
mod backup;
mod bench;
mod cat;
mod check;
mod completions;
mod context;
mod create;
mod delete;
mod demo;
mod dump;
#[cfg(feature = "server")]
mod env;
mod failure;
#[cfg(feature = "server")]
mod health;
#[cfg(feature = "server")]
mod http;
mod info;
mod interrupt;
mod keys;
mod lines;
mod ls;
mod options;
mod pump;
mod put;
mod render;
mod scratch;
#[cfg(feature = "server")]
mod serve;
mod set;
mod streams;
mod table;
#[cfg(feature = "server")]
mod tail;
mod time;
mod trim;
mod units;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

pub(crate) use context::Context;
pub(crate) use failure::Failure;

const DEFAULT_STORE: &str = "./braidlog-data";
const STORE_VARIABLE: &str = "BRAIDLOG_STORE";

const AFTER_HELP: &str = "\
Exit codes:
  0  done
  1  failed
  2  called wrongly
  3  damage found
  4  no such store, log, file or position
  5  locked, busy or full: worth trying again
  130, 143  ended by SIGINT or SIGTERM before it was done, as shells count it

Times are 2026-11-20T12:00:00Z (parts may be left out from the right), @UNIX-SECONDS, or how long ago: 15m, 2h, 7d.
Sizes are 4096, 64KiB (or 64k), 1MB. Durations are 500ms, 30s, 15m, 12h, 7d.";

/// Many durable, ordered, append-only logs in one directory
#[derive(Debug, Parser)]
#[command(name = "braidlog", version, after_help = AFTER_HELP, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// The store's folder [env: BRAIDLOG_STORE] [default: ./braidlog-data]
    #[arg(long, global = true, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Print JSON, for programs
    #[arg(long, global = true)]
    json: bool,
    /// Print nothing but the result and errors
    #[arg(long, short, global = true)]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the streams of the store to AWS clients
    #[cfg(feature = "server")]
    Serve(serve::Args),
    /// Print the records of a stream as they come, of a running server or of a store
    #[cfg(feature = "server")]
    Tail(tail::Args),
    /// Ask a server whether it works: exit code 0 if so, 1 if not
    #[cfg(feature = "server")]
    Health(health::Args),
    /// Print the variables that point AWS clients to a server
    #[cfg(feature = "server")]
    Env(env::Args),
    /// Put a real log file into a store, read it back, compare, and show the figures
    Demo(demo::Args),
    /// Append the lines of files, or of standard input, as records
    Put(put::Args),
    /// Print records
    Cat(cat::Args),
    /// List the logs
    Ls(ls::Args),
    /// Tell about the store, or about one log
    Info(info::Args),
    /// Make a log
    Create(create::Args),
    /// Change how a log is kept
    Set(set::Args),
    /// Make a log's oldest records unreadable and give their space back
    Trim(trim::Args),
    /// Delete a log with all its records
    Delete(delete::Args),
    /// Make, show, split, merge, scale and delete streams
    Stream(streams::Args),
    /// List the registered consumers of streams
    Consumers(streams::ConsumersArgs),
    /// Follow files and put what is written to them into a stream, each line once
    Agent(agent::Args),
    /// Copy the store, as of now, into an empty folder
    Backup(backup::Args),
    /// Verify every byte of the store and say where damage is
    Check(check::Args),
    /// Print a file of the store byte by byte, with its meaning
    Dump(dump::Args),
    /// Measure the engine, with the machine's own limit beside it
    Bench(bench::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
}

/// Runs the program with the arguments it was started with.
pub fn main() -> ExitCode {
    run(std::env::args_os().collect())
}

fn run(args: Vec<OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error, args.iter().any(|arg| arg == "--json")),
    };
    let store_named = cli.global.store.is_some();
    let from_environment = || std::env::var_os(STORE_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    let store = cli.global.store.or_else(from_environment).unwrap_or_else(|| DEFAULT_STORE.into());
    let mut context = Context::new(store, store_named, cli.global.json, cli.global.quiet);
    let outcome = dispatch(cli.command, &mut context);
    // What was printed before a failure is part of the answer, so it goes out first.
    let outcome = outcome.and(context.out.flush().map_err(Failure::from)).or_else(|failure| match failure {
        Failure::OutputClosed => Ok(()),
        failure => {
            let _ = context.out.flush();
            Err(failure)
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report(context.json);
            if let Some(signal) = failure.signal() {
                interrupt::end_by(signal);
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

fn dispatch(command: Command, context: &mut Context) -> Result<(), Failure> {
    match command {
        #[cfg(feature = "server")]
        Command::Serve(args) => serve::run(context, args),
        #[cfg(feature = "server")]
        Command::Tail(args) => tail::run(context, args),
        #[cfg(feature = "server")]
        Command::Health(args) => health::run(context, args),
        #[cfg(feature = "server")]
        Command::Env(args) => env::run(context, args),
        Command::Demo(args) => demo::run(context, args),
        Command::Put(args) => put::run(context, args),
        Command::Cat(args) => cat::run(context, args),
        Command::Ls(args) => ls::run(context, args),
        Command::Info(args) => info::run(context, args),
        Command::Create(args) => create::run(context, args),
        Command::Set(args) => set::run(context, args),
        Command::Trim(args) => trim::run(context, args),
        Command::Delete(args) => delete::run(context, args),
        Command::Stream(args) => streams::run(context, args),
        Command::Consumers(args) => streams::run_consumers(context, args),
        Command::Agent(args) => agent::run(context, args),
        Command::Backup(args) => backup::run(context, args),
        Command::Check(args) => check::run(context, args),
        Command::Dump(args) => dump::run(context, args),
        Command::Bench(args) => bench::run(context, args),
        Command::Completions(args) => completions::run(context, args, Cli::command()),
    }
}

/// Help and version are answers; everything else that clap says is wrong usage.
fn refuse(error: &clap::Error, json: bool) -> ExitCode {
    if json && error.use_stderr() {
        let rendered = error.render().to_string();
        // What is wrong, and with what: all that stands before the usage.
        let lines = rendered.lines().take_while(|line| !line.starts_with("Usage:"));
        let words: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
        Failure::Usage(words.join(" ").trim_start_matches("error: ").to_owned()).report(true);
    } else {
        // A closed output is not worth a word.
        let _ = error.print();
    }
    ExitCode::from(if error.use_stderr() { failure::code::USAGE } else { 0 })
}
