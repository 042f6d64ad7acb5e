//! Registered consumers: names under which enhanced fan-out readers subscribe.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::format::stream::{self as rows, ConsumerRow};
use crate::limits::{CONSUMERS_MAX, CONSUMERS_ON_DEMAND_MAX};
use crate::table::Change;
use crate::transaction::Transaction;

use super::Stream;
use super::control::{check_policy, merged};
use super::options::{StreamMode, check_name, mode_of};

/// A registered consumer as it is described.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let engine = braidlog::Engine::open(dir.path())?;
/// let clicks = engine.create_stream("clicks", Default::default())?;
/// let consumer = clicks.register_consumer("billing", [("team", "web")])?;
/// assert!(consumer.consumer_arn.contains(":stream/clicks/consumer/billing:"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Consumer {
    /// Its name.
    pub consumer_name: String,
    /// Its ARN. A consumer registered again under the name has another one.
    pub consumer_arn: String,
    /// When it was registered, in milliseconds since 1970.
    pub created_ms: u64,
    /// Its tags, sorted by key.
    pub tags: Vec<(String, String)>,
    /// Its resource policy, if it has one.
    pub resource_policy: Option<String>,
}

impl Stream {
    fn consumer_of(&self, name: &str, row: &ConsumerRow) -> Consumer {
        Consumer {
            consumer_name: name.to_owned(),
            consumer_arn: format!("{}/consumer/{name}:{}", self.arn(), row.created_ms / 1000),
            created_ms: row.created_ms,
            tags: row.tags.clone(),
            resource_policy: Some(row.policy.clone()).filter(|policy| !policy.is_empty()),
        }
    }

    fn no_consumer(&self, name: &str) -> Error {
        Error::ResourceNotFound { what: format!("consumer {name} of stream {}", self.name()) }
    }

    /// Registers a consumer. Durable, and ready for use, when it returns.
    ///
    /// # Errors
    /// [`Error::ResourceInUse`] if there is one of this name; [`Error::LimitExceeded`] beyond 20, of an on-demand stream 50,
    /// or [`crate::EngineOptions::consumers_max`]; [`Error::InvalidArgument`].
    pub fn register_consumer<K: Into<String>, V: Into<String>>(
        &self,
        name: &str,
        tags: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Consumer> {
        check_name("ConsumerName", name)?;
        let tags: Vec<(String, String)> = tags.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        let tags = merged(&[], &tags)?;
        let mut control = self.control()?;
        let consumers = self.state.consumers();
        if consumers.contains_key(name) {
            let what = format!("consumer {name} of stream {}", self.name());
            return Err(Error::ResourceInUse { what, why: "it is registered already".to_owned() });
        }
        let max = match (self.shared.options.consumers_max, mode_of(&self.state.row())) {
            (Some(max), _) => max as usize,
            (None, StreamMode::Provisioned) => CONSUMERS_MAX,
            (None, StreamMode::OnDemand) => CONSUMERS_ON_DEMAND_MAX,
        };
        if consumers.len() >= max {
            return Err(Error::LimitExceeded { what: format!("{max} consumers of stream {}", self.name()) });
        }
        // A consumer's ARN holds the second of its registration, and must not be that of a predecessor: the second is one of
        // its own, as that of a new shard is, though it may lie a little ahead of the clock for that.
        let mut engine = control.engine.clone();
        engine.last_birth_s = self.shared.next_birth(&control);
        let created_ms = self.shared.now_ms().max(engine.last_birth_s * 1000);
        let row = ConsumerRow { created_ms, policy: String::new(), tags };
        let consumer = self.consumer_of(name, &row);
        let mut change = Change::default();
        change.put(rows::ENGINE_KEY.to_vec(), engine.encode());
        self.set_consumer(change, &consumers, name, Some(row))?;
        control.engine = engine;
        Ok(consumer)
    }

    /// Removes a consumer; its subscriptions end.
    ///
    /// # Errors
    /// [`Error::ResourceNotFound`].
    pub fn deregister_consumer(&self, name: &str) -> Result<()> {
        let _control = self.control()?;
        let consumers = self.state.consumers();
        if !consumers.contains_key(name) {
            return Err(self.no_consumer(name));
        }
        self.set_consumer(Change::default(), &consumers, name, None)?;
        self.state.seats.end_all(self, name);
        Ok(())
    }

    /// The consumer of this name.
    ///
    /// # Errors
    /// [`Error::ResourceNotFound`].
    pub fn consumer(&self, name: &str) -> Result<Consumer> {
        self.state.check_alive()?;
        let consumers = self.state.consumers();
        let row = consumers.get(name).ok_or_else(|| self.no_consumer(name))?;
        Ok(self.consumer_of(name, row))
    }

    /// The consumer with this ARN.
    ///
    /// # Errors
    /// [`Error::ResourceNotFound`], also for one that was removed and registered again.
    pub fn consumer_by_arn(&self, arn: &str) -> Result<Consumer> {
        let mut consumers = self.consumers().into_iter();
        consumers.find(|consumer| consumer.consumer_arn == arn).ok_or_else(|| self.no_consumer(arn))
    }

    /// Its registered consumers, sorted by name.
    pub fn consumers(&self) -> Vec<Consumer> {
        self.state.consumers().iter().map(|(name, row)| self.consumer_of(name, row)).collect()
    }

    /// Adds tags to a consumer, or gives them new values.
    ///
    /// # Errors
    /// [`Error::ResourceNotFound`], [`Error::InvalidArgument`].
    pub fn tag_consumer<K: Into<String>, V: Into<String>>(
        &self,
        name: &str,
        tags: impl IntoIterator<Item = (K, V)>,
    ) -> Result<()> {
        let tags: Vec<(String, String)> = tags.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        self.change_consumer(name, |row| {
            row.tags = merged(&row.tags, &tags)?;
            Ok(())
        })
    }

    /// Removes tags of a consumer.
    ///
    /// # Errors
    /// [`Error::ResourceNotFound`].
    pub fn untag_consumer(&self, name: &str, keys: &[&str]) -> Result<()> {
        self.change_consumer(name, |row| {
            row.tags.retain(|(key, _)| !keys.contains(&key.as_str()));
            Ok(())
        })
    }

    /// Keeps a resource policy of a consumer, or forgets it. The engine does not enforce it.
    ///
    /// # Errors
    /// [`Error::ResourceNotFound`], [`Error::InvalidArgument`].
    pub fn set_consumer_policy(&self, name: &str, policy: Option<&str>) -> Result<()> {
        policy.map_or(Ok(()), check_policy)?;
        self.change_consumer(name, |row| {
            row.policy = policy.unwrap_or_default().to_owned();
            Ok(())
        })
    }

    fn change_consumer(&self, name: &str, change: impl FnOnce(&mut ConsumerRow) -> Result<()>) -> Result<()> {
        let _control = self.control()?;
        let consumers = self.state.consumers();
        let mut row = consumers.get(name).ok_or_else(|| self.no_consumer(name))?.clone();
        change(&mut row)?;
        self.set_consumer(Change::default(), &consumers, name, Some(row))
    }

    /// Changes one consumer, and what else `change` holds.
    fn set_consumer(
        &self,
        mut change: Change,
        consumers: &BTreeMap<String, ConsumerRow>,
        name: &str,
        row: Option<ConsumerRow>,
    ) -> Result<()> {
        let mut transaction = Transaction::new();
        let mut consumers = consumers.clone();
        let key = rows::consumer_key(self.state.id, name);
        match row {
            Some(row) => {
                change.put(key, row.encode());
                consumers.insert(name.to_owned(), row);
            }
            None => {
                change.remove(key);
                consumers.remove(name);
            }
        }
        self.shared.catalog.change(&mut transaction, change)?;
        let state = self.state.clone();
        transaction.once_durable(move |_| state.set_consumers(consumers));
        self.shared.store.commit(transaction)?.wait()?;
        Ok(())
    }
}
