//! One cell: one engine, one workload, one repetition, in processes and a directory of its own.
//!
//! The processes are this program again. One appends and leaves without closing the log, as after a
//! crash of the program; where records are to be read back, a second one opens what it left. So
//! whatever the scan finds was in the hands of the operating system when it was acknowledged.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::measure::{self, Figures, Limits, Scan};
use crate::peers::{self, Peer};
use crate::records::Tally;
use crate::workload::Workload;

/// Beyond its appointed time a step may take this long to open, warm up, fill or compact.
const PATIENCE: Duration = Duration::from_mins(5);

/// What to run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cell {
    pub peer: String,
    pub workload: Workload,
    pub record_bytes: usize,
    pub limits: Limits,
    /// Read everything back and compare.
    pub verify: bool,
}

/// One process of a cell.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Step {
    /// Appends to a new log.
    Append,
    /// Reads the log back; each writer had this many records acknowledged.
    ReadBack(Vec<u64>),
}

/// What a step, and in the end the cell, came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// It was measured; each writer had this many records acknowledged.
    Measured { figures: Figures, by_writer: Vec<u64> },
    /// It was not.
    Failed(String),
}

/// What a process of a cell is started with.
#[derive(Serialize, Deserialize)]
struct Order {
    cell: Cell,
    step: Step,
    directory: std::path::PathBuf,
}

impl Cell {
    /// Runs the cell in processes of their own, in a fresh directory under `root`.
    pub fn run_apart(&self, root: &Path, rep: u32) -> Outcome {
        let directory = root.join(format!("{}-{}-{rep}", self.peer, self.workload.name()));
        let outcome = fs::create_dir(&directory).map_err(Into::into).and_then(|()| self.run_steps(&directory));
        let removed = fs::remove_dir_all(&directory).and_then(|()| {
            // The next cell must not pay for the removal of this one's files.
            fs::File::open(root)?.sync_all()
        });
        match (outcome, removed) {
            (Ok(outcome), Ok(())) => outcome,
            (Err(error), _) => Outcome::Failed(error.to_string()),
            (_, Err(error)) => Outcome::Failed(format!("cannot clean up: {error}")),
        }
    }

    fn run_steps(&self, directory: &Path) -> Result<Outcome> {
        let appended = self.run_step(Step::Append, directory)?;
        let Outcome::Measured { by_writer, .. } = &appended else {
            return Ok(appended);
        };
        if self.workload != Workload::Scan && !self.verify {
            return Ok(appended);
        }
        let read = self.run_step(Step::ReadBack(by_writer.clone()), directory)?;
        Ok(match (&read, self.workload) {
            (Outcome::Measured { .. }, workload) if workload != Workload::Scan => appended,
            _ => read,
        })
    }

    fn run_step(&self, step: Step, directory: &Path) -> Result<Outcome> {
        let peer = peer_named(&self.peer)?;
        let data = directory.join("data");
        let order = Order { cell: self.clone(), step, directory: directory.to_owned() };
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--cell")
            .arg(serde_json::to_string(&order)?)
            .envs((peer.environment)(&data))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        // Read while it runs, or a talkative engine would block on a full pipe.
        let said = child.stderr.take().map(|mut pipe| {
            thread::spawn(move || {
                let mut said = Vec::new();
                let _ = pipe.read_to_end(&mut said);
                String::from_utf8_lossy(&said).trim().to_owned()
            })
        });
        let ended = wait(&mut child, PATIENCE + Duration::from_secs_f64(self.limits.seconds))?;
        let said = said.and_then(|thread| thread.join().ok()).unwrap_or_default();

        let written = directory.join("outcome.json");
        match ended {
            None => Ok(Outcome::Failed(format!("gave no sign for {PATIENCE:?}"))),
            Some(status) if !status.success() => Ok(Outcome::Failed(format!("{status}: {said}"))),
            Some(_) => {
                let outcome = serde_json::from_slice(&fs::read(&written)?)?;
                fs::remove_file(written)?;
                Ok(outcome)
            }
        }
    }
}

/// Waits for a child to end by itself; kills it after `patience` and says `None`.
fn wait(child: &mut std::process::Child, patience: Duration) -> Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() > patience {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Runs in a process of its own the step that `order` describes.
pub fn run_here(order: &str) -> Result<()> {
    let Order { cell, step, directory } = serde_json::from_str(order)?;
    let peer = peer_named(&cell.peer)?;
    let outcome = (peer.step)(&cell, step, &directory).unwrap_or_else(|error| Outcome::Failed(error.to_string()));
    fs::write(directory.join("outcome.json"), serde_json::to_vec(&outcome)?)?;
    // Threads of the engine may still run, and may never end.
    std::process::exit(0)
}

/// Runs one step with the engine `P`.
pub fn step<P: Peer>(cell: &Cell, step: Step, directory: &Path) -> Result<Outcome> {
    let data = directory.join("data");
    match step {
        Step::Append => {
            fs::create_dir(&data)?;
            let durability = match cell.workload {
                // A log that cannot be filled unsynced is filled in durable groups.
                Workload::Scan if P::cannot(Workload::AppendBatch).is_some() => Workload::Sync1000.durability(),
                workload => workload.durability(),
            };
            let peer = P::open(&data, durability)?;
            let appended = measure::append(&peer, cell.workload, cell.record_bytes, cell.limits)?;
            // Not closed: what is read back must have left the process by itself.
            std::mem::forget(peer);
            Ok(Outcome::Measured { figures: appended.figures, by_writer: appended.by_writer })
        }
        Step::ReadBack(by_writer) => {
            let mut scan = Scan::default();
            P::scan(&data, &mut scan)?;
            let expected = Tally::expected(&by_writer, cell.record_bytes);
            scan.tally().check(&expected, by_writer.len() == 1)?;
            Ok(Outcome::Measured { figures: scan.figures(), by_writer })
        }
    }
}

fn peer_named(name: &str) -> Result<peers::Entry> {
    peers::all()
        .into_iter()
        .find(|peer| peer.name == name)
        .ok_or_else(|| format!("no peer `{name}` is built in").into())
}
