//! What the commit machine does besides appends, one request after the other: its serial point.

use crate::format::batch::BatchBuilder;
use crate::format::journal::EntryKind;
use crate::format::manifest::LogRow;
use crate::id::SequenceNumber;
use crate::log::{LogState, put_options};
use crate::options::{Durability, LogOptions};
use crate::sync::{Arc, Ordering};
use crate::ticket::Slot;
use crate::transaction::{Committed, Decided, Transaction};

use super::commit::Commit;
use super::frame::{Draft, Effect};

/// Something the commit machine does at its serial point.
pub(crate) enum Request {
    CreateLog {
        name: String,
        options: LogOptions,
        slot: Arc<Slot<Arc<LogState>>>,
    },
    DeleteLog {
        log: Arc<LogState>,
        slot: Arc<Slot<()>>,
    },
    Trim {
        log: Arc<LogState>,
        upto: SequenceNumber,
        slot: Arc<Slot<SequenceNumber>>,
    },
    SetOptions {
        log: Arc<LogState>,
        options: LogOptions,
        slot: Arc<Slot<()>>,
    },
    Transaction {
        transaction: Transaction,
        slot: Arc<Slot<Committed>>,
    },
    /// A buffered log is about to be written, with numbers up to `row.reserved`.
    Touch {
        log: Arc<LogState>,
        row: Box<LogRow>,
    },
}

impl Commit {
    pub(super) fn request(&mut self, draft: &mut Draft, request: Request, group: u8) {
        self.room_in(draft, 4096, 0);
        match request {
            Request::CreateLog { name, options, slot } => {
                let created = self.core.catalog_create(&name, &options, self.next);
                if let Ok(log) = &created {
                    draft.row(EntryKind::CreateLog, group, &log.row());
                    draft.then(Effect::Created { log: log.clone() });
                }
                slot.fill(created);
            }
            Request::DeleteLog { log, slot } => {
                let deleted = self.core.catalog_delete(&log, self.next);
                if deleted.is_ok() {
                    // What was appended before comes before. Of a buffered log nothing goes through the journal: replay would not
                    // know where it belongs, should only the first of two frames be there.
                    if log.durability == Durability::Durable {
                        let batches = log.appender.lock().take_all();
                        self.inline(draft, &log, batches, 0);
                    }
                    // These may have filled a frame.
                    log.deleted_in.store(self.next, Ordering::Release);
                    if !crate::seeded_bug!(DeleteAckedUnsynced) {
                        draft.entry(EntryKind::DeleteLog, group, log.id, 0, Vec::new());
                    }
                    draft.then(Effect::Deleted { log });
                }
                slot.fill(deleted);
            }
            Request::Trim { log, upto, slot } => {
                let answer = log.check_alive().map(|()| upto);
                if answer.is_ok() {
                    draft.entry(EntryKind::Trim, group, log.id, upto, Vec::new());
                    draft.then(Effect::Trimmed { log, upto });
                }
                slot.fill(answer);
            }
            Request::SetOptions { log, options, slot } => {
                let answer = log.check_alive();
                if answer.is_ok() {
                    self.set_options(draft, group, log, options);
                }
                slot.fill(answer);
            }
            Request::Touch { log, row } => {
                draft.row(EntryKind::Touch, group, &row);
                draft.then(Effect::Touched { log, reserved: row.reserved });
            }
            Request::Transaction { transaction, slot } => self.transaction(draft, transaction, slot, group),
        }
    }

    /// Options count once they are durable: retention by options that a crash takes back would be a loss.
    fn set_options(&self, draft: &mut Draft, group: u8, log: Arc<LogState>, options: LogOptions) {
        let mut row = log.row();
        put_options(&mut row, &options);
        // Where its records are is not what this entry is about.
        row.segments.clear();
        draft.row(EntryKind::SetOptions, group, &row);
        draft.then(Effect::Options { log, options });
    }

    /// Looks at the preconditions and frames the transaction whole, or nothing of it.
    fn transaction(&mut self, draft: &mut Draft, mut transaction: Transaction, slot: Arc<Slot<Committed>>, group: u8) {
        // The transaction's entries lie in one frame with each other, whatever else is in it.
        if draft.frame_bytes() + transaction.bytes() > self.core.ring.frame_bytes_max() {
            self.close(std::mem::take(draft), None);
        }
        let named = transaction.check_names(&self.core);
        let logs = transaction.logs();
        // Locked from here until the numbers are given, so that nobody gets one in between.
        let mut locked: Vec<_> = logs.iter().map(|log| log.appender.lock()).collect();
        for (log, appender) in logs.iter().zip(&mut locked) {
            // What others appended meanwhile has its numbers already, so it comes first. A buffered log's never goes through
            // the journal: its own lane writes and acknowledges it.
            if log.durability == Durability::Durable {
                let batches = appender.take_all();
                self.inline(draft, log, batches, 0);
            }
        }
        if draft.frame_bytes() + transaction.bytes() > self.core.ring.frame_bytes_max() {
            self.close(std::mem::take(draft), None);
        }
        let reserved = transaction.bytes();
        match named.and_then(|()| transaction.check(&logs, &locked)) {
            Ok(()) => {
                let (appended, batches) = transaction.encode(&logs, &mut locked, self.core.stamp());
                let mut decided = Decided { appended, created: Vec::new() };
                let trims = transaction.trims(&logs, &locked);
                let ends: Vec<SequenceNumber> = transaction
                    .closes
                    .iter()
                    .map(|log| locked[logs.partition_point(|l| l.id < log.id)].next())
                    .collect();
                drop(locked);
                let bytes: usize = batches.iter().flatten().map(BatchBuilder::records_bytes).sum();
                self.core.budget.adjust(reserved, bytes);
                for (log, batches) in logs.iter().zip(batches) {
                    self.inline(draft, log, batches, group);
                }
                for (log, upto) in trims {
                    draft.entry(EntryKind::Trim, group, log.id, upto, Vec::new());
                    draft.then(Effect::Trimmed { log, upto });
                }
                for (log, options) in std::mem::take(&mut transaction.options) {
                    self.set_options(draft, group, log, options);
                }
                let closes = std::mem::take(&mut transaction.closes);
                for (log, end) in closes.iter().zip(ends) {
                    draft.entry(EntryKind::CloseLog, group, log.id, end, Vec::new());
                }
                for log in std::mem::take(&mut transaction.deletes) {
                    self.core.catalog_take(&log, self.next);
                    draft.entry(EntryKind::DeleteLog, group, log.id, 0, Vec::new());
                    draft.then(Effect::Deleted { log });
                }
                for (name, options) in std::mem::take(&mut transaction.creates) {
                    let log = self.core.catalog_add(&name, &options, self.next);
                    draft.row(EntryKind::CreateLog, group, &log.row());
                    draft.then(Effect::Created { log: log.clone() });
                    decided.created.push(log);
                }
                transaction.once_decided.drain(..).for_each(|consequence| consequence(&decided));
                slot.fill(Ok(Committed { appended: decided.appended.clone() }));
                let consequences = std::mem::take(&mut transaction.once_durable);
                if !consequences.is_empty() {
                    draft.then(Effect::Then { consequences, decided });
                }
                // Last: a reader that is woken by the end of a log finds what comes after it.
                closes.into_iter().for_each(|log| draft.then(Effect::Closed { log }));
            }
            Err(refused) => {
                self.core.budget.release(reserved as u64);
                slot.fill(Err(refused));
            }
        }
    }
}
