//! Large shares of one log: straight to its segment, synced there, and only then described by a frame.
//!
//! Such a share is *on its way* from when its writes are handed to the disk until its frame is framed. Several are at once, so
//! that the device moves the data of one while it flushes another; each has a frame of its own, in their order, and its number
//! from the start, for it stands in the batches. So nothing else is framed meanwhile.
//!
//! What must hold:
//!
//! 1. Before a share is begun, everything of its log below it is in segments and on stable storage: what its frame says is
//!    durable is the log up to the share's end.
//! 2. Its frame is framed after its writes were reaped, and after a sync begun behind them was.
//! 3. Until then readers, checkpoints and retention see nothing of it, and nobody else writes to its segment.

use std::sync::Arc as StdArc;

use crate::env::{AlignedBuf, BLOCK, Completion, DiskFile, DiskOp, Wait};
use crate::error::Fault;
use crate::format::batch::{BatchBuilder, BatchHeader, KIND_BULK, KIND_RECORDS};
use crate::format::journal::EntryKind;
use crate::format::manifest::SEGMENT_ROW_BYTES;
use crate::id::FrameNumber;
use crate::log::LogState;
use crate::metrics::{Health, add};
use crate::segment::Segment;
use crate::sync::Arc;
use crate::ticket::Turn;

use super::commit::Commit;
use super::frame::Draft;

/// Data goes to the device in pieces of this size, so many at a time.
const PIECE_BYTES: usize = 512 << 10;
pub(super) const PIECES_IN_FLIGHT: usize = 16;
/// Shares on their way at once.
pub(super) const SHARES_MAX: usize = 3;

/// Tokens of the disk queue: a frame's is its number, and so are those of a share, with one of these bits.
const WRITE: u64 = 1 << 63;
const SYNC: u64 = 1 << 62;

/// How far a share is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// So many writes are in flight; whether there will be more.
    Writing {
        in_flight: usize,
        more: bool,
    },
    Syncing,
    Durable,
}

/// A share on its way.
pub(super) struct Share {
    log: Arc<LogState>,
    number: FrameNumber,
    segment: Arc<Segment>,
    file: StdArc<dyn DiskFile>,
    /// Segments begun for it, which the log's readers don't know yet.
    begun: Vec<Arc<Segment>>,
    headers: Vec<(u64, BatchHeader)>,
    start: u64,
    end: u64,
    /// Bytes as they were admitted.
    admitted: usize,
    stage: Stage,
    /// Resolved with its frame.
    pub(super) turn: Option<Arc<Turn>>,
}

impl Commit {
    /// Whether the share is one to go straight to a segment. Asked more than once of a share, and always answered alike.
    pub(super) fn is_bulk(&self, bytes: usize) -> bool {
        bytes as u64 >= self.core.options.bulk_bytes
    }

    /// Begins to write a log's share to its segment; `false` if there is no room on the disk, no descriptor, batches are in the
    /// way, or the log has too many segments: the journal takes it then, and the checkpoint sorts it out.
    pub(super) fn begin_share(&mut self, log: &Arc<LogState>, batches: &mut Vec<BatchBuilder>) -> Result<bool, Fault> {
        let core = self.core.clone();
        if !core.health.is_ok() {
            // The journal has its room already, and what else is left on a full disk is for the checkpoint.
            return Ok(false);
        }
        // Its frame names every segment of the log. With more than a fraction of a journal file's worth of them it goes without.
        let segments = log.view.read().unwrap_or_else(|p| p.into_inner()).segments.len();
        if segments * SEGMENT_ROW_BYTES > core.ring.frame_bytes_max() / 2 {
            return Ok(false);
        }
        let Some(first) = batches.first().map(|b| b.next() - u64::from(b.count())) else { return Ok(true) };
        let Some(end) = batches.last().map(BatchBuilder::next) else { return Ok(true) };
        let length: u64 = batches.iter().map(|batch| batch.encoded_len() as u64).sum();
        if !self.settle_before(log)? {
            return Ok(false);
        }
        // A segment is sealed with all it has in its index.
        if log.writer.lock().bulk_rolls(&log.writer_context(&core.files), first, length) {
            self.finish_shares()?;
        }
        let mut begun = Vec::new();
        let mut writer = log.writer.lock();
        let place = writer.bulk_place(&log.writer_context(&core.files), first..end, length, &mut begun);
        drop(writer);
        let Ok(place) = place else {
            log.settle_view(begun, &[]);
            return Ok(false);
        };
        let number = self.next_number();
        let share = Share {
            log: log.clone(),
            number,
            segment: place.segment,
            file: place.file,
            begun,
            headers: Vec::new(),
            start: place.position,
            end: place.position,
            admitted: batches.iter().map(BatchBuilder::records_bytes).sum(),
            stage: Stage::Writing { in_flight: 0, more: true },
            turn: None,
        };
        self.shares.push_back(share);
        self.write_share(log, batches)?;
        let Some(share) = self.shares.iter_mut().find(|share| share.number == number) else { return Ok(true) };
        let expected = (share.start + length).next_multiple_of(BLOCK as u64);
        assert_eq!(share.end, expected, "a share ends where the next one was told to begin");
        if let Stage::Writing { more, .. } = &mut share.stage {
            *more = false;
        }
        self.sync_share(number);
        Ok(true)
    }

    /// Everything of the log below its next batch is in segments and durable when this answers `true`. Small batches that are
    /// framed but not in a segment yet must not be overtaken: they are flushed, and waited for where they aren't durable yet.
    fn settle_before(&mut self, log: &Arc<LogState>) -> Result<bool, Fault> {
        let core = self.core.clone();
        loop {
            let mut writer = log.writer.lock();
            let (released, redundant, flushed) = log.flush_with(&mut writer, &core.files, FrameNumber::MAX, true);
            core.budget.flushed(released);
            core.retire(log, redundant);
            let pending = !log.view.read().unwrap_or_else(|p| p.into_inner()).pending.is_empty();
            let in_the_way = pending && !crate::seeded_bug!(SmallOvertakesBulk);
            if flushed.is_err() {
                return Ok(false);
            }
            if !in_the_way {
                let synced = writer.sync(&core.files).and_then(|()| core.files.sync_folders());
                return synced
                    .map(|()| true)
                    .map_err(|error| Fault::new("sync segments", format!("log {:?}", log.name), &error));
            }
            drop(writer);
            self.submit();
            if self.in_flight() == 0 {
                return Ok(false);
            }
            self.await_completion()?;
        }
    }

    /// Hands the bytes of the share that was begun last to the disk, waiting while it has enough to do.
    fn write_share(&mut self, log: &LogState, batches: &mut Vec<BatchBuilder>) -> Result<(), Fault> {
        let Some((number, mut position)) = self.shares.back().map(|share| (share.number, share.start)) else {
            return Ok(());
        };
        let mut headers = Vec::with_capacity(batches.len());
        let mut piece = self.piece();
        let last = batches.len() - 1;
        for (i, builder) in batches.drain(..).enumerate() {
            let kind = if i == last { KIND_BULK } else { KIND_RECORDS };
            let (header, bytes) = builder.finish(number, kind, log.salt);
            headers.push((position, header));
            position += bytes.len() as u64;
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let n = rest.len().min(PIECE_BYTES - piece.len());
                piece.extend_from_slice(&rest[..n]);
                rest = &rest[n..];
                if piece.len() == PIECE_BYTES {
                    let full = std::mem::replace(&mut piece, self.piece());
                    self.submit_piece(full)?;
                }
            }
            self.core.buffers.give(bytes);
        }
        if !piece.is_empty() {
            piece.pad_to_block();
            self.submit_piece(piece)?;
        }
        if let Some(share) = self.shares.back_mut() {
            share.headers = headers;
        }
        Ok(())
    }

    fn piece(&mut self) -> AlignedBuf {
        let mut piece = self.spare_buffer(PIECE_BYTES);
        piece.clear();
        piece
    }

    /// Of the share that was begun last: nothing of it is framed before all of it is there, so it stays the last.
    fn submit_piece(&mut self, data: AlignedBuf) -> Result<(), Fault> {
        let writes = |share: &Share| match share.stage {
            Stage::Writing { in_flight, .. } => in_flight,
            _ => 0,
        };
        while self.shares.iter().map(writes).sum::<usize>() >= PIECES_IN_FLIGHT {
            self.await_completion()?;
        }
        let Some(share) = self.shares.back_mut() else { return Ok(()) };
        if let Stage::Writing { in_flight, .. } = &mut share.stage {
            *in_flight += 1;
        }
        let (token, file, offset) = (share.number | WRITE, share.file.clone(), share.end);
        share.end += data.len() as u64;
        self.send(token, DiskOp::Write { file, offset, data, durable: false });
        Ok(())
    }

    /// Waits for something to complete, and does what follows from it.
    fn await_completion(&mut self) -> Result<(), Fault> {
        self.reap(Wait::Completion);
        self.publish();
        match self.core.health.get() {
            Health::Stopped { cause } => Err(cause),
            _ => Ok(()),
        }
    }

    /// Once all of a share's writes were reaped, they are synced: by one sync for all pieces. A durable write each would have
    /// the file system commit once for every piece, because the room they go to was reserved but never written.
    fn sync_share(&mut self, number: FrameNumber) {
        let Some(share) = self.shares.iter_mut().find(|share| share.number == number) else { return };
        let Stage::Writing { in_flight, more: false } = share.stage else { return };
        if crate::seeded_bug!(BulkFramedBeforeData) {
            share.stage = Stage::Durable;
        } else if in_flight == 0 {
            share.stage = Stage::Syncing;
            let file = share.file.clone();
            self.send(number | SYNC, DiskOp::SyncData { file });
        }
    }

    /// An operation of a share ended; `Err` with the completion if it is none.
    pub(super) fn share_completed(&mut self, completion: Completion) -> Result<(), Completion> {
        let (number, wrote) = match completion.token {
            token if token & WRITE != 0 => (token & !WRITE, true),
            token if token & SYNC != 0 => (token & !SYNC, false),
            _ => return Err(completion),
        };
        if let DiskOp::Write { data, .. } = completion.op {
            self.keep(data);
        }
        let Some(share) = self.shares.iter_mut().find(|share| share.number == number) else { return Ok(()) };
        if let Err(error) = completion.result {
            let fault = Fault::new("write segment", share.segment.path(), &error);
            self.stop(fault, None);
            return Ok(());
        }
        match &mut share.stage {
            Stage::Writing { in_flight, .. } if wrote => *in_flight -= 1,
            Stage::Syncing if !wrote => share.stage = Stage::Durable,
            _ => {}
        }
        self.sync_share(number);
        Ok(())
    }

    /// Frames the oldest shares whose data is durable.
    pub(super) fn frame_shares(&mut self) {
        while let Some(share) = self.shares.pop_front_if(|share| share.stage == Stage::Durable) {
            let turn = share.turn.clone();
            if let Err(error) = self.frame_share(&share) {
                let fault = Fault::new("write segment", share.segment.path(), &error);
                self.stop(fault, turn.as_ref());
            }
        }
    }

    fn frame_share(&mut self, share: &Share) -> std::io::Result<()> {
        let core = self.core.clone();
        if !share.begun.is_empty() {
            // Its name must last as its data does.
            core.files.sync_folders()?;
        }
        let log = &share.log;
        let mut writer = log.writer.lock();
        writer.bulk_written(&core.files, &share.segment, &share.headers, share.end)?;
        log.settle_view(share.begun.clone(), &[]);
        // Nobody may write to a segment of the log until its row is taken.
        let mut row = log.row();
        drop(writer);
        let mut draft = Draft::default();
        if let Some((_, header)) = share.headers.last() {
            row.end = header.end();
            row.last_arrival_ms = row.last_arrival_ms.max(header.last_arrival_ms);
            draft.row(EntryKind::Settle, 0, &row);
            let records = share.headers.iter().map(|(_, h)| u64::from(h.count)).sum();
            draft.grow(log, header.end(), records, share.end - share.start, 0);
        }
        add(&core.counters.bulk_bytes, share.end - share.start);
        core.budget.release(share.admitted as u64);
        self.close(draft, share.turn.clone());
        Ok(())
    }

    /// Waits until every share on its way is framed.
    pub(super) fn finish_shares(&mut self) -> Result<(), Fault> {
        while !self.shares.is_empty() {
            self.await_completion()?;
        }
        Ok(())
    }
}
