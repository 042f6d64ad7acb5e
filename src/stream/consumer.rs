//! Registered consumers: names under which enhanced fan-out readers subscribe.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::format::stream::{self as rows, ConsumerRow};
use crate::limits::{CONSUMERS_MAX, CREATING_MAX};
use crate::table::Change;
use crate::transaction::Transaction;

use super::Stream;
use super::control::{check_policy, merged};
use super::control_lock::ControlGuard;
use super::options::check_name;
use super::state::PassingConsumer;

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
    /// Its state.
    pub consumer_status: ConsumerStatus,
    /// When it was registered, in milliseconds since 1970.
    pub created_ms: u64,
    /// Its tags, sorted by key.
    pub tags: Vec<(String, String)>,
    /// Its resource policy, if it has one.
    pub resource_policy: Option<String>,
}

/// The state of a registered consumer, as the service names it: active, but where [`crate::EngineOptions::transition_time`] says
/// otherwise.
///
/// ```
/// use braidlog::stream::ConsumerStatus;
/// assert_eq!(ConsumerStatus::Active.name(), "ACTIVE");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConsumerStatus {
    /// It is being registered, and can't subscribe yet.
    Creating,
    /// It is being removed.
    Deleting,
    /// It can subscribe.
    Active,
}

impl ConsumerStatus {
    /// The service's name of it.
    pub fn name(self) -> &'static str {
        match self {
            ConsumerStatus::Creating => "CREATING",
            ConsumerStatus::Deleting => "DELETING",
            ConsumerStatus::Active => "ACTIVE",
        }
    }
}

impl Stream {
    fn consumer_of(&self, name: &str, row: &ConsumerRow, consumer_status: ConsumerStatus) -> Consumer {
        Consumer {
            consumer_name: name.to_owned(),
            consumer_arn: format!("{}/consumer/{name}:{}", self.arn(), row.created_ms / 1000),
            consumer_status,
            created_ms: row.created_ms,
            tags: row.tags.clone(),
            resource_policy: Some(row.policy.clone()).filter(|policy| !policy.is_empty()),
        }
    }

    /// Those of its consumers that are being registered or removed.
    fn passing_consumers(&self) -> BTreeMap<String, PassingConsumer> {
        let now_ms = self.shared.monotonic_ms();
        let mut passing = self.state.passing_consumers.lock();
        passing.retain(|_, consumer| now_ms < consumer.until_ms);
        passing.clone()
    }

    pub(crate) fn no_consumer(&self, name: &str) -> Error {
        Error::ResourceNotFound { what: format!("consumer {name} of stream {}", self.name()) }
    }

    /// Registers a consumer. Durable, and ready for use, when it returns, but see [`crate::EngineOptions::transition_time`].
    ///
    /// # Errors
    /// [`Error::ResourceInUse`] if there is one of this name, and while the stream is not active; [`Error::LimitExceeded`] beyond
    /// 20, or [`crate::EngineOptions::consumers_max`]; [`Error::InvalidArgument`].
    pub fn register_consumer<K: Into<String>, V: Into<String>>(
        &self,
        name: &str,
        tags: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Consumer> {
        self.register_with(name, tags, self.active()?, self.shared.options.transition_time)
    }

    /// As [`Stream::register_consumer`], of one that is active at once whatever the options say.
    #[cfg(feature = "server")]
    pub(crate) fn register_active_consumer(&self, name: &str) -> Result<Consumer> {
        self.register_with(name, std::iter::empty::<(String, String)>(), self.control()?, Duration::ZERO)
    }

    /// `time`: how long it takes.
    fn register_with<K: Into<String>, V: Into<String>>(
        &self,
        name: &str,
        tags: impl IntoIterator<Item = (K, V)>,
        control: ControlGuard<'_>,
        time: Duration,
    ) -> Result<Consumer> {
        check_name("ConsumerName", name)?;
        let tags: Vec<(String, String)> = tags.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        let tags = merged(&[], &tags)?;
        let (consumers, passing) = (self.state.consumers(), self.passing_consumers());
        if consumers.contains_key(name) || passing.contains_key(name) {
            let what = format!("consumer {name} of stream {}", self.name());
            let why = if consumers.contains_key(name) { "it is registered already" } else { "it is being removed" };
            return Err(Error::ResourceInUse { what, why: why.to_owned() });
        }
        let creating = passing.values().filter(|consumer| consumer.status == ConsumerStatus::Creating).count();
        if creating >= CREATING_MAX {
            let what = format!("{CREATING_MAX} consumers of stream {} that are CREATING at a time", self.name());
            return Err(Error::LimitExceeded { what });
        }
        let max = self.shared.options.consumers_max.map_or(CONSUMERS_MAX, |max| max as usize);
        if consumers.len() >= max {
            return Err(Error::LimitExceeded { what: format!("{max} consumers of stream {}", self.name()) });
        }
        // A consumer's ARN holds the second of its registration, and must not be that of a predecessor: the second is one of
        // its own, as that of a new shard is, though it may lie a little ahead of the clock for that.
        let engine = control.next_birth(self.shared.now_ms());
        let created_ms = self.shared.now_ms().max(engine.last_birth_s * 1000);
        let row = ConsumerRow { created_ms, policy: String::new(), tags };
        let passing = self.passing_as(ConsumerStatus::Creating, time, &row);
        let status = passing.as_ref().map_or(ConsumerStatus::Active, |passing| passing.status);
        let consumer = self.consumer_of(name, &row, status);
        let mut change = Change::default();
        change.put(rows::ENGINE_KEY.to_vec(), engine.encode());
        self.set_consumer(&control, change, &consumers, name, Some(row), passing)?;
        Ok(consumer)
    }

    /// Removes a consumer; its subscriptions end.
    ///
    /// # Errors
    /// [`Error::ResourceNotFound`].
    pub fn deregister_consumer(&self, name: &str) -> Result<()> {
        let control = self.control()?;
        let consumers = self.state.consumers();
        let row = consumers.get(name).ok_or_else(|| self.no_consumer(name))?;
        let passing = self.passing_as(ConsumerStatus::Deleting, self.shared.options.transition_time, row);
        self.set_consumer(&control, Change::default(), &consumers, name, None, passing)?;
        self.state.seats.end_all(self, name);
        Ok(())
    }

    /// The consumer of this name.
    ///
    /// # Errors
    /// [`Error::ResourceNotFound`].
    pub fn consumer(&self, name: &str) -> Result<Consumer> {
        self.state.check_alive()?;
        let (consumers, passing) = (self.state.consumers(), self.passing_consumers());
        match (consumers.get(name), passing.get(name)) {
            (Some(row), passing) => {
                Ok(self.consumer_of(name, row, passing.map_or(ConsumerStatus::Active, |passing| passing.status)))
            }
            (None, Some(passing)) => Ok(self.consumer_of(name, &passing.row, passing.status)),
            (None, None) => Err(self.no_consumer(name)),
        }
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
        let active = self.state.consumers();
        let active =
            active.iter().map(|(name, row)| (name.clone(), self.consumer_of(name, row, ConsumerStatus::Active)));
        let mut consumers: BTreeMap<String, Consumer> = active.collect();
        for (name, passing) in self.passing_consumers() {
            match consumers.get_mut(&name) {
                Some(consumer) => consumer.consumer_status = passing.status,
                None => drop(consumers.insert(name.clone(), self.consumer_of(&name, &passing.row, passing.status))),
            }
        }
        consumers.into_values().collect()
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

    /// Keeps a resource policy of a consumer, see [`Stream::put_resource_policy`], or forgets it.
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
        let control = self.control()?;
        let consumers = self.state.consumers();
        let mut row = consumers.get(name).ok_or_else(|| self.no_consumer(name))?.clone();
        change(&mut row)?;
        self.set_consumer(&control, Change::default(), &consumers, name, Some(row), None)
    }

    /// What it is for so long.
    fn passing_as(&self, status: ConsumerStatus, time: Duration, row: &ConsumerRow) -> Option<PassingConsumer> {
        let until_ms = self.shared.until_ms(time);
        (!time.is_zero()).then(|| PassingConsumer { status, until_ms, row: row.clone() })
    }

    /// Changes one consumer, and what else `change` holds.
    fn set_consumer(
        &self,
        control: &ControlGuard<'_>,
        mut change: Change,
        consumers: &BTreeMap<String, ConsumerRow>,
        name: &str,
        row: Option<ConsumerRow>,
        passing: Option<PassingConsumer>,
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
        let (state, name) = (self.state.clone(), name.to_owned());
        transaction.once_durable(move |_| {
            if let Some(passing) = passing {
                state.passing_consumers.lock().insert(name, passing);
            }
            state.set_consumers(consumers);
        });
        self.commit(control, transaction)
    }
}
