//! A handle on one log: appends, reads, trims.

use std::time::Instant;

use crate::core::Core;
use crate::driver::{Request, append_alone, step_by_caller};
use crate::error::{Error, Result};
use crate::format::batch::RecordParts;
use crate::id::{LogId, SequenceNumber};
use crate::limits::APPEND_RECORDS_MAX;
use crate::options::{Durability, LogOptions};
use crate::record::{Size, size_of};
use crate::segment::Location;
use crate::store::Store;
use crate::sync::{Arc, Ordering};
use crate::ticket::{Appended, Pending, Ticket};

use super::{AgeStop, Bound, Floor, KeepsRecords, LogState, Reader, StartAt};

/// A handle on one log.
///
/// Appends come from any number of threads; those that meet share one sync.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use braidlog::{LogOptions, StartAt, Store};
/// let store = Store::open(dir.path())?;
/// let log = store.create_log("clicks", LogOptions::new())?;
/// log.append("durable when this returns")?;
/// let ticket = log.append_ticket("on its way")?;
/// ticket.wait()?;
/// assert_eq!((log.end(), log.read(StartAt::TrimHorizon)?.count()), (2, 2));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Log {
    pub(crate) core: Arc<Core>,
    pub(crate) state: Arc<LogState>,
    /// Keeps the store open.
    pub(crate) store: Store,
}

impl Log {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// Its identity.
    pub fn id(&self) -> LogId {
        self.state.id
    }

    /// Its options as they are now.
    pub fn options(&self) -> LogOptions {
        self.state.options.read().unwrap_or_else(|p| p.into_inner()).clone()
    }

    /// When it was created, in milliseconds since 1970.
    pub fn created_ms(&self) -> u64 {
        self.state.created_ms
    }

    /// Appends one record and blocks until it is acknowledged as the log's durability says.
    ///
    /// # Errors
    /// [`Error::RecordTooLarge`], [`Error::Busy`] after the store's append deadline, [`Error::Full`],
    /// [`Error::LogClosed`], [`Error::LogDeleted`], [`Error::LogStopped`], [`Error::Stopped`]: nothing was appended.
    /// [`Error::OutcomeUnknown`]: it may or may not be there after a reopen; also when it was not acknowledged within the
    /// append deadline.
    pub fn append<'a>(&self, record: impl Into<RecordParts<'a>>) -> Result<Appended> {
        self.append_all(std::iter::once(record.into()))
    }

    /// Appends several records with consecutive numbers and blocks until all are acknowledged. They share their arrival time.
    /// A crash before that may keep a front part of them; for all or nothing see [`crate::Transaction`].
    ///
    /// # Errors
    /// As [`Log::append`]; [`Error::EmptyBatch`], [`Error::TransactionTooLarge`].
    pub fn append_batch<'a, R: Into<RecordParts<'a>>>(&self, records: impl IntoIterator<Item = R>) -> Result<Appended> {
        let records: Vec<RecordParts<'a>> = records.into_iter().map(Into::into).collect();
        self.append_all(records.iter().copied())
    }

    /// Appends and waits, but not longer than the store's append deadline: a disk that hangs, or has no room for what was let in
    /// already, must not hang the caller. If nobody is at it, the caller writes it itself.
    fn append_all<'a>(&self, records: impl Iterator<Item = RecordParts<'a>> + Clone) -> Result<Appended> {
        let patience = self.core.patience();
        let size = self.size_of(records.clone())?;
        let (ticket, left) = match self.state.durability {
            Durability::Durable => {
                let ticket = self.enqueue(records, size, Room::Wait, Then::Wait)?;
                let left = self.store.lead(ticket.turn(), patience);
                (ticket, left)
            }
            Durability::Buffered => match self.append_alone(records.clone(), size) {
                Some(ticket) => (ticket, patience),
                None => {
                    let ticket = self.enqueue(records, size, Room::Wait, Then::Wait)?;
                    step_by_caller(&self.core);
                    (ticket, patience)
                }
            },
        };
        ticket.wait_within(left, patience, || self.place())
    }

    /// How an error names it.
    fn place(&self) -> String {
        format!("log {:?}", self.name())
    }

    /// What a blocking append to a buffered log tries first: to write the records without anybody's help.
    #[inline]
    pub(crate) fn append_alone<'a>(
        &self,
        records: impl Iterator<Item = RecordParts<'a>>,
        size: Size,
    ) -> Option<Ticket> {
        append_alone(&self.core, &self.state, records, size)
    }

    /// As [`Log::append`], but returns at once with a ticket. Waits for room first, as that does.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn append_ticket<'a>(&self, record: impl Into<RecordParts<'a>>) -> Result<Ticket> {
        self.push(std::iter::once(record.into()), Room::Wait, Then::Return)
    }

    /// As [`Log::append_batch`], but returns at once with a ticket.
    ///
    /// # Errors
    /// As [`Log::append_batch`].
    pub fn append_batch_ticket<'a>(&self, records: &[RecordParts<'a>]) -> Result<Ticket> {
        self.push(records.iter().copied(), Room::Wait, Then::Return)
    }

    /// As [`Log::append_batch_ticket`], but answers [`Error::Busy`] instead of waiting for room.
    ///
    /// # Errors
    /// As [`Log::append_batch`].
    pub fn try_append_batch<'a>(&self, records: &[RecordParts<'a>]) -> Result<Ticket> {
        self.push(records.iter().copied(), Room::Busy, Then::Return)
    }

    /// Several records in one batch of numbers; waits for room, not for the disk.
    pub(crate) fn push_records<'a>(
        &self,
        records: impl Iterator<Item = RecordParts<'a>> + Clone,
        then: Then,
    ) -> Result<Ticket> {
        self.push(records, Room::Wait, then)
    }

    #[inline]
    fn push<'a>(
        &self,
        records: impl Iterator<Item = RecordParts<'a>> + Clone,
        room: Room,
        then: Then,
    ) -> Result<Ticket> {
        let size = self.size_of(records.clone())?;
        self.enqueue(records, size, room, then)
    }

    /// What the records take, if the journal can take them.
    #[inline]
    pub(crate) fn size_of<'a>(&self, records: impl Iterator<Item = RecordParts<'a>>) -> Result<Size> {
        let size = size_of(records)?;
        let max = self.core.largest_append();
        let fits_alone = size.count == 1 && size.bytes <= self.core.ring.frame_bytes_max() - 8192;
        if size.count > APPEND_RECORDS_MAX || size.bytes > max && !fits_alone {
            return Err(Error::TransactionTooLarge { bytes: size.bytes, max });
        }
        Ok(size)
    }

    #[inline]
    fn enqueue<'a>(
        &self,
        records: impl Iterator<Item = RecordParts<'a>>,
        size: Size,
        room: Room,
        then: Then,
    ) -> Result<Ticket> {
        let (core, state) = (&self.core, &self.state);
        let Size { count, bytes } = size;
        core.admit(bytes as u64, || room.deadline(core))?;
        let refused = |error: Error| {
            core.budget.release(bytes as u64);
            Err(error)
        };
        let buffered = state.durability == Durability::Buffered;
        // Before anything has a number: nobody would write it without the thread.
        if buffered && let Err(error) = self.store.start_buffered() {
            return refused(error);
        }
        let lane = if buffered { &core.buffered_lane } else { &core.commit_lane };
        let arrival_ms = core.stamp();
        loop {
            let mut appender = state.appender.lock();
            if let Err(error) = state.check_appendable(&appender) {
                drop(appender);
                return refused(error);
            }
            if buffered && appender.needs_touch(count) {
                drop(appender);
                if let Err(error) = core.touch(state, room.deadline(core)) {
                    return refused(error);
                }
                continue;
            }
            let (turn, appended) = appender.push(records, bytes, arrival_ms, &core.buffers, |after| {
                lane.register(state, bytes, after, then == Then::Return)
            });
            drop(appender);
            return Ok(Ticket::new(turn, appended));
        }
    }

    /// Whether it was closed: see [`crate::Transaction::close_log`].
    pub fn is_closed(&self) -> bool {
        self.state.is_closed()
    }

    /// Makes everyone who waits for more look again.
    pub(crate) fn wake_readers(&self) {
        self.state.watch.wake();
    }

    /// Names who keeps records of this log for its readers: the same one every time.
    pub(crate) fn kept_by(&self, keeper: std::sync::Arc<dyn KeepsRecords>) {
        let _ = self.state.keeper.set(keeper);
    }

    /// Whether records from `first` on are there: neither trimmed, as when they expired and their space was given back, nor
    /// deleted with the log.
    pub(crate) fn has(&self, first: SequenceNumber) -> bool {
        !self.state.is_deleted() && self.state.trimmed() <= first
    }

    /// Number the next readable record will have: all below is durable, or in the page cache for a buffered log.
    pub fn end(&self) -> SequenceNumber {
        self.state.high()
    }

    /// The oldest readable number: what trims, the age rule and the byte rule left.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Io`] when the index must be looked at and can't be.
    pub fn horizon(&self) -> Result<SequenceNumber> {
        let now_ms = if self.state.has_rules() { self.core.trusted_now_ms() } else { 0 };
        Ok(self.state.horizon(&self.core.files, now_ms)?.min(self.end()))
    }

    pub(crate) fn horizon_at_least(&self) -> Result<SequenceNumber> {
        self.state.horizon_without_age(&self.core.files)
    }

    pub(crate) fn age_cutoff_ms(&self) -> Option<u64> {
        if !self.state.has_rules() {
            return None;
        }
        self.state.age_cutoff_ms(self.core.trusted_now_ms())
    }

    /// Whether a floor holds its rules back.
    pub(crate) fn is_held(&self) -> bool {
        self.state.floors.lowest().is_some()
    }

    /// Whether a record with this number and arrival may not be read any more.
    pub(crate) fn hides(&self, number: SequenceNumber, arrival_ms: u64) -> Result<bool> {
        let expired = self.age_cutoff_ms().is_some_and(|cutoff| arrival_ms < cutoff);
        match expired {
            true => Ok(!self.is_held() || number < self.horizon()?),
            false => Ok(number < self.horizon_at_least()?),
        }
    }

    /// Stops time for the age rule.
    pub(crate) fn stop_age(&self) -> AgeStop {
        AgeStop::new(&self.state, || self.core.trusted_now_ms())
    }

    pub(crate) fn locate_arrival(&self, arrival_ms: u64) -> Result<(SequenceNumber, Option<Location>)> {
        self.state.locate_arrival(&self.core.files, arrival_ms)
    }

    /// A reader that starts there.
    ///
    /// # Errors
    /// [`Error::Trimmed`], [`Error::BeyondEnd`], [`Error::LogDeleted`], and what looking at an index may answer.
    pub fn read(&self, start: StartAt) -> Result<Reader> {
        Reader::new(self.clone(), start, Bound::High)
    }

    /// Makes everything below `upto` unreadable, durably; space is given back behind it. Beyond the end it trims up to the
    /// end. Returns the new horizon.
    ///
    /// # Errors
    /// [`Error::LogDeleted`], and what any write may answer; [`Error::OutcomeUnknown`] also when it was not durable within the append
    /// deadline. Works on a full disk.
    ///
    /// ```
    /// # fn main() -> braidlog::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = braidlog::Store::open(dir.path())?;
    /// let log = store.create_log("clicks", Default::default())?;
    /// log.append_batch(["a", "b", "c"])?;
    /// assert_eq!(log.trim(2)?, 2);
    /// assert_eq!(log.read(braidlog::StartAt::TrimHorizon)?.next().unwrap()?.data, "c");
    /// # Ok(())
    /// # }
    /// ```
    pub fn trim(&self, upto: SequenceNumber) -> Result<SequenceNumber> {
        let answer = self.trim_ticket(upto)?.wait_within(self.core.patience(), "trim", &self.place())?;
        self.core.retention_asked.store(true, Ordering::Release);
        self.core.upkeep.ring();
        Ok(answer)
    }

    pub(crate) fn trim_ticket(&self, upto: SequenceNumber) -> Result<Pending<SequenceNumber>> {
        self.state.check_alive()?;
        let (log, upto) = (self.state.clone(), upto.min(self.end()));
        let pending = self.core.request(|slot| Request::Trim { log, upto, slot })?;
        self.core.ask_trim(&self.state, upto);
        Ok(pending)
    }

    /// Changes retention and segment size. Durability stays as it was created.
    ///
    /// # Errors
    /// [`Error::InvalidOption`], [`Error::LogDeleted`], and what any write may answer; [`Error::OutcomeUnknown`] also when it was not
    /// durable within the append deadline.
    ///
    /// ```
    /// # fn main() -> braidlog::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use std::time::Duration;
    /// # let store = braidlog::Store::open(dir.path())?;
    /// let log = store.create_log("clicks", Default::default())?;
    /// let day = Some(Duration::from_secs(24 * 3600));
    /// log.set_options(log.options().retention_age(day))?;
    /// assert_eq!(log.options().retention_age, day);
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_options(&self, options: LogOptions) -> Result<()> {
        self.set_options_ticket(options)?.wait_within(self.core.patience(), "set options", &self.place())
    }

    /// As [`Log::set_options`], but does not wait for the disk.
    ///
    /// # Errors
    /// As [`Log::set_options`].
    pub fn set_options_ticket(&self, options: LogOptions) -> Result<Pending<()>> {
        options.check()?;
        let (log, options) = (self.state.clone(), LogOptions { durability: self.state.durability, ..options });
        self.core.request(|slot| Request::SetOptions { log, options, slot })
    }

    /// Holds retention back at `position`, see [`Floor`].
    pub fn hold(&self, position: SequenceNumber) -> Floor {
        Floor::new(self.state.floors.clone(), position)
    }

    /// Segments and bytes of the log.
    pub fn info(&self) -> LogInfo {
        // Before the end is: what is readable by then was appended.
        let high = self.end();
        let appended = self.state.appender.lock().next();
        let view = self.state.view.read().unwrap_or_else(|p| p.into_inner());
        LogInfo {
            segments: view.segments.len(),
            segment_bytes: view.segments.iter().map(|s| s.stored_bytes()).sum(),
            pending_bytes: view.pending_bytes,
            first_arrival_ms: view
                .segments
                .iter()
                .find(|s| !s.is_empty())
                .map(|s| s.first_arrival_ms())
                .or(view.pending.front().map(|b| b.header.first_arrival_ms)),
            last_arrival_ms: view.pending.back().map(|b| b.header.last_arrival_ms).or(view
                .segments
                .iter()
                .rev()
                .find(|s| !s.is_empty())
                .map(|s| s.last_arrival_ms())),
            trimmed: self.state.trimmed(),
            lag: appended.saturating_sub(high),
            held_from: self.state.floors.lowest(),
            oldest_pin: view.segments.iter().find(|s| s.pins() > 0).map(|s| s.base),
            stopped_at: self.state.stopped_at(),
        }
    }
}

/// What an append does when there is no room.
#[derive(Clone, Copy)]
enum Room {
    /// Waits for the store's append deadline.
    Wait,
    /// Answers that the store is busy.
    Busy,
}

/// What the caller does next.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// It waits for the ticket, after steps of the machine if nobody else takes them.
    Wait,
    /// Something else.
    Return,
}

impl Room {
    /// Only asked when it comes to waiting: reading the clock costs as much as encoding a small record.
    fn deadline(self, core: &Core) -> Option<Instant> {
        match self {
            Room::Wait => core.deadline(),
            Room::Busy => None,
        }
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log")
            .field("name", &self.state.name)
            .field("id", &self.state.id)
            .field("end", &self.end())
            .finish()
    }
}

/// What a log takes.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = braidlog::Store::open(dir.path())?;
/// let log = store.create_log("clicks", Default::default())?;
/// assert_eq!(log.info().segments, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogInfo {
    /// Number of segments.
    pub segments: usize,
    /// Their valid bytes.
    pub segment_bytes: u64,
    /// Bytes in memory and journal that no segment has yet.
    pub pending_bytes: u64,
    /// Arrival of the oldest record on disk, in milliseconds since 1970.
    pub first_arrival_ms: Option<u64>,
    /// Arrival of the newest record.
    pub last_arrival_ms: Option<u64>,
    /// The horizon set by explicit trims and by freed segments.
    pub trimmed: SequenceNumber,
    /// How many records were appended and are not readable yet, because they are not acknowledged: by so much the high watermark,
    /// [`Log::end`], lags behind. Records of a transaction count from when it is its turn.
    pub lag: u64,
    /// The position of the lowest [`Floor`]: retention by age and bytes is held back there, within `held_bytes_max`.
    pub held_from: Option<SequenceNumber>,
    /// The first number of the oldest segment of which readers hold records in mapped memory: its space, and in this process its
    /// mapping, stay for as long as they do. `None` also where records are copied ([`ReadMode::Copy`](crate::ReadMode::Copy)). What
    /// was freed already is in [`Stats::oldest_pin_ms`](crate::Stats::oldest_pin_ms).
    pub oldest_pin: Option<SequenceNumber>,
    /// Where an open found it damaged, in this life or an earlier one: nothing is read or appended from there on.
    pub stopped_at: Option<SequenceNumber>,
}
