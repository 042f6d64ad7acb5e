//! Runs Braidlog's append workloads on other embeddable storage engines, on the same machine, the
//! same disk and under the same promise to the caller.
//!
//! Every cell of the result (one engine, one workload, one repetition) runs in a process and a
//! directory of its own: several engines keep global state, start threads they never stop, or
//! panic when something is wrong, and none of that may reach the next cell.

mod cell;
mod measure;
mod peers;
mod place;
mod records;
mod report;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::cell::{Cell, Outcome};
use crate::measure::Limits;
use crate::peers::Entry;
use crate::report::{Line, Report};
use crate::workload::Workload;

/// What went wrong, in whatever type the engine says it.
type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

#[derive(Parser)]
#[command(about, version)]
struct Arguments {
    /// Where the engines put their data, each cell in a fresh directory that is removed after
    #[arg(long, default_value = "target/peers-data")]
    dir: PathBuf,
    /// Run these engines only
    #[arg(long, value_delimiter = ',', value_name = "PEER")]
    only: Vec<String>,
    /// Run these workloads only
    #[arg(long, value_delimiter = ',', value_name = "WORKLOAD")]
    workload: Vec<Workload>,
    /// How often each cell is run; the table gives the least, the median and the most
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    reps: u32,
    /// How long one repetition of an append workload lasts
    #[arg(long, default_value_t = 5.0, value_parser = positive)]
    seconds: f64,
    /// Size of one record
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(16..=65_535))]
    record_bytes: u32,
    /// How many records the scan reads
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    scan_records: u64,
    /// End a repetition early once it has appended this much, to spare disk and memory
    #[arg(long, default_value_t = 2048, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..))]
    max_mib: u64,
    /// After every repetition read everything back in a new process and compare
    #[arg(long)]
    verify: bool,
    /// Print JSON in place of the tables
    #[arg(long)]
    json: bool,
    /// List the engines that are built in, and the workloads
    #[arg(long)]
    list: bool,
    /// Run one cell and write its outcome: how this program starts itself
    #[arg(long, hide = true, value_name = "CELL")]
    cell: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.cell {
        Some(cell) => cell::run_here(cell).map(|()| true),
        None if arguments.list => {
            list();
            Ok(true)
        }
        None => run(&arguments),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs everything that was asked for; `false` if some cell failed.
fn run(arguments: &Arguments) -> Result<bool> {
    let peers = chosen_peers(&arguments.only)?;
    let workloads = if arguments.workload.is_empty() { Workload::ALL.to_vec() } else { arguments.workload.clone() };
    let limits =
        Limits { seconds: arguments.seconds, bytes_max: arguments.max_mib << 20, scan_records: arguments.scan_records };
    let root = place::Root::create(&arguments.dir)?;

    let mut lines: Vec<Line> =
        workloads.iter().flat_map(|&workload| peers.iter().map(move |peer| Line::new(peer, workload))).collect();
    // The repetitions go round all cells, so that a slow spell of the machine falls on everyone.
    for rep in 1..=arguments.reps {
        for line in lines.iter_mut().filter(|line| line.can_run()) {
            eprintln!("[{rep}/{}] {} {}", arguments.reps, line.workload.name(), line.peer);
            let cell = Cell {
                peer: line.peer.to_owned(),
                workload: line.workload,
                record_bytes: arguments.record_bytes as usize,
                limits,
                verify: arguments.verify,
            };
            let outcome = cell.run_apart(root.path(), rep);
            if let Outcome::Failed(why) = &outcome {
                eprintln!("    failed: {why}");
            }
            line.outcomes.push(outcome);
        }
    }

    let report = Report {
        place: root.describe(),
        record_bytes: arguments.record_bytes,
        seconds: arguments.seconds,
        reps: arguments.reps,
        scan_records: arguments.scan_records,
        lines,
    };
    if arguments.json {
        println!("{}", report.to_json()?);
    } else {
        print!("{report}");
    }
    Ok(!report.has_failures())
}

/// The engines named, in the order of the table, or all of them.
fn chosen_peers(only: &[String]) -> Result<Vec<Entry>> {
    let built_in = peers::all();
    if built_in.is_empty() {
        return Err("no peer is built in: build with `--features`, or without `--no-default-features`".into());
    }
    if let Some(unknown) = only.iter().find(|name| !built_in.iter().any(|peer| peer.name == name.as_str())) {
        let names: Vec<_> = built_in.iter().map(|peer| peer.name).collect();
        return Err(format!("no peer `{unknown}` is built in; there are: {}", names.join(", ")).into());
    }
    Ok(built_in.into_iter().filter(|peer| only.is_empty() || only.iter().any(|name| name == peer.name)).collect())
}

fn list() {
    for peer in peers::all() {
        println!("peer      {:<14} {}", peer.name, peer.version());
    }
    for workload in Workload::ALL {
        println!("workload  {:<14} {}", workload.name(), workload.title());
    }
}

fn positive(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 3600.0 => Ok(seconds),
        _ => Err("must be a number of seconds above 0, at most 3600".to_owned()),
    }
}
