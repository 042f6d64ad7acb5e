//! Which logs there are: those in use by name and id, the rest in the pages of the manifest until somebody asks.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::{Bound, Range};

use crate::error::{Error, Result};
use crate::format::manifest::LogRow;
use crate::id::{FrameNumber, LogId};
use crate::log::{Ended, LogState, put_options};
use crate::options::{Durability, LogOptions};
use crate::sync::{Arc, Ordering};

use super::{Core, RESERVED_NUMBERS};

/// Which logs are known, by name and id.
#[derive(Default)]
pub(super) struct Catalog {
    pub(super) by_name: HashMap<Arc<str>, Arc<LogState>>,
    /// In an order that is the same each time a history runs, unlike that of a hash.
    pub(super) by_id: BTreeMap<LogId, Arc<LogState>>,
    /// Created, but the frame that says so is not durable yet.
    creating: HashSet<LogId>,
    /// Deleted in this life; a manifest page may still have them.
    pub(super) gone: HashSet<LogId>,
}

impl Core {
    /// Makes a log known under its name at the commit machine's serial point; nobody sees it before its frame is durable.
    pub(crate) fn catalog_create(&self, name: &str, options: &LogOptions, frame: FrameNumber) -> Result<Arc<LogState>> {
        self.check_name_free(name)?;
        Ok(self.catalog_add(name, options, frame))
    }

    /// At the serial point: whether a log of this name can be created.
    pub(crate) fn check_name_free(&self, name: &str) -> Result<()> {
        match self.find(name)? {
            None => Ok(()),
            Some(_) => Err(Error::LogExists { name: name.to_owned() }),
        }
    }

    /// As [`Core::catalog_create`], of a name that was found free at this serial point.
    pub(crate) fn catalog_add(&self, name: &str, options: &LogOptions, frame: FrameNumber) -> Arc<LogState> {
        let id = LogId::new(self.next_log.fetch_add(1, Ordering::AcqRel), name);
        let mut row = LogRow {
            id,
            name: name.to_owned(),
            created_ms: self.stamp(),
            last_arrival_ms: self.last_stamp(),
            ..LogRow::default()
        };
        put_options(&mut row, options);
        if options.durability == Durability::Buffered {
            row.reserved = RESERVED_NUMBERS;
        }
        let log = LogState::from_row(&row, self.identity.origin, options.durability == Durability::Buffered);
        log.created_in.store(frame, Ordering::Release);
        let log = Arc::new(log);
        let mut catalog = self.catalog.write().unwrap_or_else(|p| p.into_inner());
        catalog.by_name.insert(log.name.clone(), log.clone());
        catalog.by_id.insert(id, log.clone());
        catalog.creating.insert(id);
        drop(catalog);
        if options.durability == Durability::Buffered {
            // Not before: a checkpoint drops the note of a log that it does not know. One that comes in between does without, for the
            // frame that creates the log is behind it.
            self.touched.lock().insert(id);
        }
        log
    }

    pub(crate) fn catalog_open(&self, log: &LogState) {
        self.catalog.write().unwrap_or_else(|p| p.into_inner()).creating.remove(&log.id);
    }

    /// Takes a log's name away at the serial point.
    pub(crate) fn catalog_delete(&self, log: &Arc<LogState>, frame: FrameNumber) -> Result<()> {
        log.check_alive()?;
        let mut appender = log.appender.lock();
        if appender.ended() == Some(Ended::Deleted) {
            return Err(Error::LogDeleted { log: log.name.to_string() });
        }
        appender.end(Ended::Deleted);
        drop(appender);
        self.catalog_take(log, frame);
        Ok(())
    }

    /// As [`Core::catalog_delete`], of a log that was found alive at this serial point and takes nothing more.
    pub(crate) fn catalog_take(&self, log: &Arc<LogState>, frame: FrameNumber) {
        log.deleted_in.store(frame, Ordering::Release);
        let mut catalog = self.catalog.write().unwrap_or_else(|p| p.into_inner());
        catalog.by_name.remove(&log.name);
        catalog.gone.insert(log.id);
    }

    pub(crate) fn catalog_deleted(&self, log: &LogState) {
        self.touched.lock().remove(&log.id);
    }

    pub(crate) fn catalog_forget(&self, log: &LogState) {
        self.catalog.write().unwrap_or_else(|p| p.into_inner()).by_id.remove(&log.id);
    }

    /// Some of the logs in use, those whose ids come after one.
    pub(crate) fn loaded_logs_after(&self, id: Option<LogId>) -> Vec<Arc<LogState>> {
        let from = (id.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let catalog = self.catalog.read().unwrap_or_else(|p| p.into_inner());
        catalog.by_id.range(from).take(super::LOOK_AT).map(|(_, log)| log.clone()).collect()
    }

    pub(crate) fn loaded_logs(&self) -> Vec<Arc<LogState>> {
        self.catalog.read().unwrap_or_else(|p| p.into_inner()).by_id.values().cloned().collect()
    }

    /// The logs in use whose buckets these are. The lock is given up now and then: there may be many.
    pub(crate) fn loaded_logs_of(&self, buckets: &Range<u16>) -> Vec<Arc<LogState>> {
        let mut found = Vec::new();
        let mut logs = self.loaded_logs_after(None);
        while let Some(last) = logs.last().map(|log| log.id) {
            found.extend(logs.into_iter().filter(|log| buckets.contains(&log.id.bucket())));
            logs = self.loaded_logs_after(Some(last));
        }
        found
    }

    /// The log of this id, if it is in use.
    pub(crate) fn loaded_log(&self, id: LogId) -> Option<Arc<LogState>> {
        self.catalog.read().unwrap_or_else(|p| p.into_inner()).by_id.get(&id).cloned()
    }

    /// Whether it was deleted in this life.
    pub(crate) fn is_gone(&self, id: LogId) -> bool {
        self.catalog.read().unwrap_or_else(|p| p.into_inner()).gone.contains(&id)
    }

    fn find(&self, name: &str) -> Result<Option<Arc<LogState>>> {
        if let Some(log) = self.catalog.read().unwrap_or_else(|p| p.into_inner()).by_name.get(name) {
            return Ok(Some(log.clone()));
        }
        let rows = self.manifest.lock().row_by_name(name)?;
        let mut catalog = self.catalog.write().unwrap_or_else(|p| p.into_inner());
        if let Some(log) = catalog.by_name.get(name) {
            return Ok(Some(log.clone()));
        }
        let Some(row) = rows.into_iter().find(|row| !catalog.gone.contains(&row.id)) else { return Ok(None) };
        let log = Arc::new(LogState::from_row(&row, self.identity.origin, false));
        catalog.by_name.insert(log.name.clone(), log.clone());
        catalog.by_id.insert(log.id, log.clone());
        Ok(Some(log))
    }

    pub(crate) fn log_by_name(&self, name: &str) -> Result<Arc<LogState>> {
        let found = self.find(name)?;
        let visible =
            |log: &Arc<LogState>| !self.catalog.read().unwrap_or_else(|p| p.into_inner()).creating.contains(&log.id);
        found.filter(visible).ok_or_else(|| Error::NoSuchLog { name: name.to_owned() })
    }

    /// Names of all logs, sorted.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let mut names = BTreeSet::new();
        let manifest = self.manifest.lock();
        let catalog = self.catalog.read().unwrap_or_else(|p| p.into_inner());
        for rows in manifest.rows() {
            names.extend(rows?.into_iter().filter(|row| !catalog.gone.contains(&row.id)).map(|row| row.name));
        }
        let visible = catalog.by_name.values().filter(|log| !catalog.creating.contains(&log.id));
        names.extend(visible.map(|log| log.name.to_string()));
        Ok(names.into_iter().collect())
    }
}
