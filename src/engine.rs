//! The engine: a store with its streams.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use crate::driver::Signal;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::format::stream::{self as rows, ConsumerRow, EngineRow, ReshardRow, ScalingRow, ShardRow, StreamRow};
use crate::id::StoreId;
use crate::limits::SCALINGS_PER_DAY;
use crate::options::{INTERNAL_PREFIX, StoreOptions};
use crate::store::Store;
use crate::stream::{
    Births, ControlGuard, ControlLock, GetRecords, Maintenance, OnDemandOptions, ShardId, ShardState, Stream,
    StreamOptions, StreamPage, StreamState, ThroughputLimits, Token, check_page, token_key,
};
use crate::sync::{Arc, Mutex, RwLock};
use crate::table::{Change, Table};
use crate::transaction::Transaction;

/// How an engine is opened.
///
/// ```
/// use braidlog::{EngineOptions, StoreOptions};
/// let options = EngineOptions::new().account("123456789012").region("eu-central-1").store(StoreOptions::new());
/// assert_eq!(options.account, "123456789012");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineOptions {
    /// How the store is opened.
    pub store: StoreOptions,
    /// Account in ARNs: 12 digits. Default `000000000000`.
    pub account: String,
    /// Region in ARNs. Default `us-east-1`.
    pub region: String,
    /// Partition in ARNs. Default `aws`.
    pub partition: String,
    /// How long a shard iterator lasts. Default 5 minutes, as the service's do.
    pub iterator_lifetime: Duration,
    /// What becomes of calls beyond the service's limits of a shard. Default [`ThroughputLimits::Off`].
    pub throughput_limits: ThroughputLimits,
    /// How the shards of on-demand streams follow their traffic.
    pub on_demand: OnDemandOptions,
    /// Most open shards of all streams together. Default 100,000.
    pub open_shards_max: u32,
    /// Most registered consumers of a stream. Default `None`: the service's 20.
    pub consumers_max: Option<u32>,
    /// How often [`Stream::update_shard_count`] changes a stream within 24 hours. Default 10, as the service; `None` for no limit.
    /// [`Stream::scale_to`] has no such limit.
    pub scalings_per_day: Option<u32>,
    /// How long a control operation takes as callers see it. Default zero: what a call changes is done, and the stream active,
    /// when it returns. Otherwise, as by the service, for programs that are tested against it:
    ///
    /// - A stream is `CREATING` for so long, and takes and gives no records; one that is deleted is `DELETING`, and its name
    ///   stays taken. The same of a consumer.
    /// - A split, a merge or a new shard count leaves the stream `UPDATING` and is done when the time is over: until then records
    ///   go to the old shards. It is durable when the call returns, and carried on after a crash.
    /// - Other settings of a stream change at once, durably, and leave it `UPDATING` for as long. Tags and policies don't.
    /// - While a stream is not active, what changes it is refused with [`Error::ResourceInUse`].
    ///
    /// By the monotonic clock; after a reopen only a split, merge or scaling still is on its way. At most 1 day.
    pub transition_time: Duration,
    /// How often a thread of the engine does what [`Engine::maintain`] does. Default 10 s, not zero; `None` for no thread.
    pub maintenance_interval: Option<Duration>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions {
            store: StoreOptions::default(),
            account: "000000000000".to_owned(),
            region: "us-east-1".to_owned(),
            partition: "aws".to_owned(),
            iterator_lifetime: Duration::from_secs(300),
            throughput_limits: ThroughputLimits::Off,
            on_demand: OnDemandOptions::default(),
            open_shards_max: 100_000,
            consumers_max: None,
            scalings_per_day: Some(SCALINGS_PER_DAY),
            transition_time: Duration::ZERO,
            maintenance_interval: Some(Duration::from_secs(10)),
        }
    }
}

impl EngineOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`store`](Self#structfield.store).
    #[must_use]
    pub fn store(mut self, store: StoreOptions) -> Self {
        self.store = store;
        self
    }

    /// Sets [`account`](Self#structfield.account).
    #[must_use]
    pub fn account(mut self, account: impl Into<String>) -> Self {
        self.account = account.into();
        self
    }

    /// Sets [`region`](Self#structfield.region).
    #[must_use]
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = region.into();
        self
    }

    /// Sets [`partition`](Self#structfield.partition).
    #[must_use]
    pub fn partition(mut self, partition: impl Into<String>) -> Self {
        self.partition = partition.into();
        self
    }

    /// Sets [`iterator_lifetime`](Self#structfield.iterator_lifetime).
    #[must_use]
    pub fn iterator_lifetime(mut self, lifetime: Duration) -> Self {
        self.iterator_lifetime = lifetime;
        self
    }

    /// Sets [`throughput_limits`](Self#structfield.throughput_limits).
    #[must_use]
    pub fn throughput_limits(mut self, limits: ThroughputLimits) -> Self {
        self.throughput_limits = limits;
        self
    }

    /// Sets [`on_demand`](Self#structfield.on_demand).
    #[must_use]
    pub fn on_demand(mut self, on_demand: OnDemandOptions) -> Self {
        self.on_demand = on_demand;
        self
    }

    /// Sets [`open_shards_max`](Self#structfield.open_shards_max).
    #[must_use]
    pub fn open_shards_max(mut self, shards: u32) -> Self {
        self.open_shards_max = shards;
        self
    }

    /// Sets [`consumers_max`](Self#structfield.consumers_max).
    #[must_use]
    pub fn consumers_max(mut self, consumers: Option<u32>) -> Self {
        self.consumers_max = consumers;
        self
    }

    /// Sets [`scalings_per_day`](Self#structfield.scalings_per_day).
    #[must_use]
    pub fn scalings_per_day(mut self, scalings: Option<u32>) -> Self {
        self.scalings_per_day = scalings;
        self
    }

    /// Sets [`transition_time`](Self#structfield.transition_time).
    #[must_use]
    pub fn transition_time(mut self, time: Duration) -> Self {
        self.transition_time = time;
        self
    }

    /// Sets [`maintenance_interval`](Self#structfield.maintenance_interval).
    #[must_use]
    pub fn maintenance_interval(mut self, interval: Option<Duration>) -> Self {
        self.maintenance_interval = interval;
        self
    }

    fn check(&self) -> Result<()> {
        if self.account.len() != 12 || !self.account.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Error::invalid("account", &self.account, "it must have 12 digits"));
        }
        let word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        for (what, text) in [("region", &self.region), ("partition", &self.partition)] {
            if !word(text) {
                return Err(Error::invalid(what, text, "it must be letters, digits and `-`"));
            }
        }
        if self.iterator_lifetime.is_zero() {
            return Err(Error::invalid("iterator_lifetime", "0 s", "no shard iterator could be used"));
        }
        if self.maintenance_interval.is_some_and(|interval| interval.is_zero()) {
            return Err(Error::invalid(
                "maintenance_interval",
                "0 s",
                "the thread would never rest; `None` is for no thread",
            ));
        }
        if self.transition_time > TRANSITION_TIME_MAX {
            let given = format!("{:?}", self.transition_time);
            return Err(Error::invalid("transition_time", given, "it must be at most 1 day"));
        }
        self.on_demand.check()
    }
}

const TRANSITION_TIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// The streams there are.
#[derive(Default)]
pub(crate) struct Streams {
    pub(crate) by_name: BTreeMap<String, Arc<StreamState>>,
    pub(crate) by_id: HashMap<u64, Arc<StreamState>>,
    /// Those that are gone, under names that are not free yet.
    pub(crate) deleting: BTreeMap<String, Arc<StreamState>>,
}

/// Other accounts on the same store.
#[derive(Default)]
struct Accounts {
    /// Their engines, once they were asked for.
    open: BTreeMap<String, Engine>,
    /// How many the store has, once that was counted.
    count: Option<usize>,
}

/// Is told what a maintenance did, and what kept it from the rest.
type Watcher = Arc<dyn Fn(&Maintenance, Option<&Error>) + Send + Sync>;

/// By the streams' ids.
type Asked = Vec<(u64, ReshardRow)>;

/// The shortest time between two looks for what is due.
const TICK_MIN: Duration = Duration::from_millis(10);

pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) options: EngineOptions,
    pub(crate) catalog: Table,
    /// Checkpoints and owners of consumer groups.
    pub(crate) leases: Table,
    pub(crate) streams: RwLock<Streams>,
    /// Held from the look at what there is until the change is durable: control operations come one after the other.
    pub(crate) control: ControlLock,
    /// Common to all accounts.
    births: Births,
    /// Key under which tokens are authenticated: of this store, and of this account.
    pub(crate) secret: [u8; 16],
    /// In the sequence numbers of this store.
    pub(crate) store_digit: u8,
    /// Ends the maintenance thread.
    maintenance: Arc<Signal>,
    /// What the last maintenance that found something did.
    maintained: Mutex<Maintenance>,
    /// Who is told of each maintenance.
    maintenance_watchers: Mutex<Vec<Watcher>>,
    accounts: Mutex<Accounts>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.maintenance.close();
    }
}

/// An open engine: a [`Store`] with its streams.
///
/// A handle; clones are the same engine. What is said of dropping and closing a [`Store`] holds here too.
///
/// Whatever changes streams, consumers or groups is durable when it returns, and answers within the store's
/// [`append_deadline`](StoreOptions#structfield.append_deadline): [`Error::OutcomeUnknown`] when the disk took longer, after which
/// the change may still come; [`Error::Busy`] when something else has been changed all the while, or may still come: nothing was done.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use braidlog::Engine;
/// use braidlog::stream::{StartingPosition, StreamOptions};
/// let engine = Engine::open(dir.path())?;                              // recovers, then serves
/// let clicks = engine.create_stream("clicks", StreamOptions::new().shards(2))?;
/// let put = clicks.put_record("user-42", b"page=/home")?;              // returns once durable
/// for record in clicks.read(put.shard_id, StartingPosition::TrimHorizon)? {
///     assert_eq!(record?.data, "page=/home");
/// }
/// engine.close()
/// # }
/// ```
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

impl Engine {
    /// Opens the engine in `path`, or makes one if the folder is empty or doesn't exist.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Engine> {
        Engine::open_with(path, EngineOptions::default())
    }

    /// As [`Engine::open`], with options.
    ///
    /// # Errors
    /// Also [`Error::InvalidArgument`], [`Error::InvalidOption`].
    pub fn open_with(path: impl AsRef<Path>, options: EngineOptions) -> Result<Engine> {
        options.check()?;
        let store = Store::open_with(path, options.store.clone())?;
        Engine::on(store, options)?.maintained_by_a_thread()
    }

    /// Opens on given parts: a disk, a clock, randomness.
    ///
    /// # Errors
    /// As [`Engine::open_with`].
    pub fn open_in(env: Env, options: EngineOptions) -> Result<Engine> {
        options.check()?;
        let store = Store::open_in(env, options.store.clone())?;
        Engine::on(store, options)?.maintained_by_a_thread()
    }

    /// The engine of a store that is open already. One store has one engine: a second one would not see what the first changes.
    ///
    /// # Errors
    /// As [`Engine::open_with`].
    pub fn on(store: Store, options: EngineOptions) -> Result<Engine> {
        Engine::of(store, options, None, Births::default())
    }

    /// The engine of an account. `tenant`: of one that has a catalog of its own, besides the one of the store's account.
    fn of(store: Store, options: EngineOptions, tenant: Option<&str>, births: Births) -> Result<Engine> {
        options.check()?;
        let catalog = Table::open(&store, &catalog_name(tenant))?;
        let engine = match engine_row(&catalog)? {
            Some(row) => row,
            None => {
                let row = EngineRow { secret: store.core().env.random_bytes(), last_birth_s: 0 };
                let mut transaction = Transaction::new();
                let mut change = Change::default();
                change.put(rows::ENGINE_KEY.to_vec(), row.encode());
                catalog.change(&mut transaction, change)?;
                store.commit_within(transaction, "catalog")?;
                row
            }
        };
        let engine = Engine::assemble(store, options, catalog, engine, (tenant, births))?;
        engine.complete_due();
        // What fails now is tried again by the maintenance.
        let _ = engine.carry_on();
        Ok(engine)
    }

    /// The engine of another account on the same store, with streams of its own: names of one account say nothing to another.
    /// That of this engine's own account is this engine.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for what isn't twelve digits; what any write may answer, when the account is seen first.
    pub fn for_account(&self, account: &str) -> Result<Engine> {
        self.for_account_within(account, usize::MAX)
    }

    /// The same where others choose accounts: no more than so many are made.
    ///
    /// # Errors
    /// As [`Engine::for_account`]; [`Error::LimitExceeded`] for one more.
    pub(crate) fn for_account_within(&self, account: &str, accounts_max: usize) -> Result<Engine> {
        if account == self.shared.options.account {
            return Ok(self.clone());
        }
        let store = &self.shared.store;
        let mut accounts = self.shared.accounts.lock();
        if let Some(engine) = accounts.open.get(account) {
            return Ok(engine.clone());
        }
        // Looking for one costs little; they are counted once.
        let is_new = match store.internal_log(&catalog_name(Some(account))) {
            Err(Error::NoSuchLog { .. }) => true,
            log => log.map(|_| false)?,
        };
        if is_new && accounts.count.is_none() {
            // Not before: that reads every page of the manifest, and one that can't be read must keep out nobody who is there.
            accounts.count = Some(self.account_names()?.len());
        }
        if is_new && accounts.count.is_some_and(|count| count >= accounts_max) {
            let what = format!("there may be {accounts_max} accounts besides the server's own");
            return Err(Error::LimitExceeded { what });
        }
        let options = self.shared.options.clone().account(account);
        let engine = Engine::of(store.clone(), options, Some(account), self.shared.births.clone())?;
        accounts.count = accounts.count.map(|count| count + usize::from(is_new));
        accounts.open.insert(account.to_owned(), engine.clone());
        Ok(engine)
    }

    /// Of other accounts, those that the store knows.
    fn account_names(&self) -> Result<Vec<String>> {
        let prefix = format!("{}/", catalog_name(None));
        let names = self.shared.store.all_log_names()?;
        let others = names.iter().filter_map(|name| name.strip_prefix(&prefix));
        Ok(others.filter(|account| *account != self.shared.options.account).map(str::to_owned).collect())
    }

    /// This engine and those of other accounts that were asked for since it was opened.
    pub(crate) fn opened_accounts(&self) -> Vec<Engine> {
        std::iter::once(self.clone()).chain(self.shared.accounts.lock().open.values().cloned()).collect()
    }

    /// All streams there are now, sorted by name.
    pub(crate) fn all_streams(&self) -> Vec<Stream> {
        let streams = self.shared.streams.read().unwrap_or_else(|p| p.into_inner());
        streams.by_name.values().map(|state| Stream { shared: self.shared.clone(), state: state.clone() }).collect()
    }

    /// The engines of all accounts that ever had a stream here, this one first.
    ///
    /// # Errors
    /// As [`Engine::for_account`].
    pub fn accounts(&self) -> Result<Vec<Engine>> {
        let names = self.account_names()?;
        let others = names.iter().map(|account| self.for_account(account));
        std::iter::once(Ok(self.clone())).chain(others).collect()
    }

    /// The engine of a store that has one already, also of a store that is open for reading only. `None` where there never was
    /// a stream: who only looks makes nothing.
    #[cfg_attr(not(feature = "cli"), expect(dead_code))]
    pub(crate) fn existing(store: &Store, options: EngineOptions) -> Result<Option<Engine>> {
        options.check()?;
        // The tables are made one after the other, before the first stream.
        for name in [catalog_name(None), leases_name(None)] {
            if let Err(Error::NoSuchLog { .. }) = store.internal_log(&name) {
                return Ok(None);
            }
        }
        let catalog = Table::open(store, &catalog_name(None))?;
        let row = engine_row(&catalog)?;
        row.map(|row| Engine::assemble(store.clone(), options, catalog, row, Default::default())).transpose()
    }

    fn assemble(
        store: Store,
        options: EngineOptions,
        catalog: Table,
        engine: EngineRow,
        (tenant, births): (Option<&str>, Births),
    ) -> Result<Engine> {
        let leases = Table::open(&store, &leases_name(tenant))?;
        let store_digit = store_digit(store.core().identity.origin, tenant);
        let (streams, asked) = load(&catalog, store_digit).map_err(damaged)?;
        let shared = Shared {
            secret: token_key(&engine.secret, store.id()),
            control: ControlLock::new(engine, births.clone()),
            births,
            store,
            options,
            catalog,
            leases,
            streams: RwLock::new(streams),
            store_digit,
            maintenance: Arc::default(),
            maintained: Mutex::default(),
            maintenance_watchers: Mutex::default(),
            accounts: Mutex::default(),
        };
        for (stream, row) in asked {
            let streams = shared.streams.read().unwrap_or_else(|p| p.into_inner());
            if let Some(state) = streams.by_id.get(&stream) {
                state.set_asked(Some(shared.carried_on(row)));
            }
        }
        Ok(Engine { shared: Arc::new(shared) })
    }

    fn maintained_by_a_thread(self) -> Result<Engine> {
        let Some(interval) = self.shared.options.maintenance_interval else { return Ok(self) };
        let (signal, shared) = (self.shared.maintenance.clone(), Arc::downgrade(&self.shared));
        // What is on its way is over soon after it is due, also where nobody looks.
        let tick = match self.shared.options.transition_time {
            Duration::ZERO => interval,
            time => (time / 4).max(TICK_MIN).min(interval),
        };
        let run = move || {
            let mut waited = Duration::ZERO;
            while !signal.wait(tick) {
                let Some(shared) = shared.upgrade() else { return };
                let engine = Engine { shared };
                waited += tick;
                if waited < interval {
                    engine.opened_accounts().iter().for_each(Engine::complete_due);
                    continue;
                }
                waited = Duration::ZERO;
                // What fails now is tried again. Who wants to know is told, see `Engine::on_maintenance`.
                let _ = engine.maintain();
            }
        };
        let thread = std::thread::Builder::new().name("braidlog-engine".into()).spawn(run);
        thread.map_err(Error::io("start thread", "braidlog-engine"))?;
        Ok(self)
    }

    /// Does the splits, merges and scalings that are due. One that fails stays on its way.
    fn complete_due(&self) {
        for stream in self.all_streams() {
            let _ = stream.complete_due();
        }
    }

    /// The store it is on: for logs of one's own, transactions, health, figures, backup.
    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// How it was opened.
    pub fn options(&self) -> &EngineOptions {
        &self.shared.options
    }

    /// Creates a stream. Durable, and ready for use, when it returns, but see [`EngineOptions::transition_time`].
    ///
    /// # Errors
    /// [`Error::ResourceInUse`] if there is one of this name, [`Error::InvalidArgument`], [`Error::LimitExceeded`], and what
    /// any write may answer.
    pub fn create_stream(&self, name: &str, options: StreamOptions) -> Result<Stream> {
        Stream::create(&self.shared, name, options, self.shared.options.transition_time)
    }

    /// As [`Engine::create_stream`], of a stream that is active at once whatever the options say.
    #[cfg(feature = "server")]
    pub(crate) fn create_active_stream(&self, name: &str, options: StreamOptions) -> Result<Stream> {
        Stream::create(&self.shared, name, options, Duration::ZERO)
    }

    /// The stream of this name.
    ///
    /// # Errors
    /// [`Error::ResourceNotFound`].
    pub fn stream(&self, name: &str) -> Result<Stream> {
        let streams = self.shared.streams.read().unwrap_or_else(|p| p.into_inner());
        let deleting = || streams.deleting.get(name).filter(|state| state.is_passing(self.shared.monotonic_ms()));
        let state = streams.by_name.get(name).or_else(deleting);
        let state = state.ok_or_else(|| Error::ResourceNotFound { what: format!("stream {name}") })?;
        Ok(Stream { shared: self.shared.clone(), state: state.clone() })
    }

    /// The stream with this ARN.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for what is no ARN of a stream here, [`Error::ResourceNotFound`].
    pub fn stream_by_arn(&self, arn: &str) -> Result<Stream> {
        let name = arn.strip_prefix(&self.shared.stream_arn(""));
        let why = "it is no ARN of a stream of this account and region";
        self.stream(name.ok_or_else(|| Error::invalid("StreamARN", arn, why))?)
    }

    /// Deletes a stream with all its records and consumers. Durable when it returns; its readers end. A stream made later
    /// under the name is another one, and refuses positions of this.
    ///
    /// # Errors
    /// [`Error::ResourceNotFound`]; [`Error::ResourceInUse`] while it has registered consumers, unless
    /// `enforce_consumer_deletion`, and while it is not active.
    pub fn delete_stream(&self, name: &str, enforce_consumer_deletion: bool) -> Result<()> {
        self.stream(name)?.delete(enforce_consumer_deletion)
    }

    /// Deletes all streams, whatever is going on with them, and frees their names at once. How many there were.
    #[cfg(feature = "server")]
    pub(crate) fn delete_all_streams(&self) -> Result<usize> {
        let mut deleted = 0;
        for stream in self.all_streams() {
            match stream.delete_at_once() {
                Ok(()) => deleted += 1,
                // Somebody else was faster.
                Err(Error::ResourceNotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.shared.streams.write().unwrap_or_else(|p| p.into_inner()).deleting.clear();
        Ok(deleted)
    }

    /// At most `limit` names of streams, 1 to 10,000, sorted, after `exclusive_start`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for the limit.
    pub fn list_streams(&self, exclusive_start: Option<&str>, limit: usize) -> Result<StreamPage> {
        check_page(limit)?;
        Ok(self.page_of_streams(exclusive_start, limit))
    }

    /// As [`Engine::list_streams`], as many as are wanted.
    pub(crate) fn page_of_streams(&self, exclusive_start: Option<&str>, limit: usize) -> StreamPage {
        use std::ops::Bound;
        let streams = self.shared.streams.read().unwrap_or_else(|p| p.into_inner());
        let from = exclusive_start.map_or(Bound::Unbounded, Bound::Excluded);
        let now_ms = self.shared.monotonic_ms();
        let there = streams.by_name.range::<str, _>((from, Bound::Unbounded)).map(|(name, _)| name);
        let deleting = streams.deleting.range::<str, _>((from, Bound::Unbounded));
        let deleting = deleting.filter(|(_, state)| state.is_passing(now_ms)).map(|(name, _)| name);
        let page = there.take(limit.saturating_add(1)).chain(deleting.take(limit.saturating_add(1)));
        let mut stream_names: Vec<String> = page.cloned().collect();
        stream_names.sort_unstable();
        let has_more = stream_names.len() > limit;
        stream_names.truncate(limit);
        StreamPage { stream_names, has_more }
    }

    /// Reads on from a shard iterator: see [`Stream::shard_iterator`]. At most `limit` records, 1 to 10,000, of together at most
    /// 10 MiB, but at least one if there is any.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a token that this store has not issued, [`Error::ExpiredIterator`],
    /// [`Error::ResourceNotFound`] when stream or shard is gone, [`Error::ThroughputExceeded`].
    pub fn get_records(&self, shard_iterator: &str, limit: usize) -> Result<GetRecords> {
        let (stream, token) = self.position(shard_iterator)?;
        stream.get(token, limit)
    }

    /// What a shard iterator says: a place in a stream.
    ///
    /// # Errors
    /// As [`Engine::get_records`].
    pub(crate) fn position(&self, shard_iterator: &str) -> Result<(Stream, Token)> {
        let lifetime = self.shared.options.iterator_lifetime;
        let token = Token::decode(shard_iterator, &self.shared.secret, self.shared.now_ms(), lifetime)?;
        let streams = self.shared.streams.read().unwrap_or_else(|p| p.into_inner());
        let gone = || Error::ResourceNotFound { what: "stream that the iterator was issued for".to_owned() };
        let state = streams.by_id.get(&token.stream).cloned().ok_or_else(gone)?;
        Ok((Stream { shared: self.shared.clone(), state }, token))
    }

    /// Does what is due, of this account and of those that were asked for since it was opened: shards of on-demand streams follow
    /// their traffic, shards whose last record expired go, what was begun is carried on, tables are kept short. A thread does it
    /// now and then, see [`EngineOptions::maintenance_interval`]; who uses [`Engine::on`] calls it.
    ///
    /// # Errors
    /// What any write may answer: the first that was met. What of one stream can't be done keeps nothing from the others, and
    /// [`Engine::last_maintenance`] has what was done.
    pub fn maintain(&self) -> Result<Maintenance> {
        let (done, outcome) = self.maintain_all();
        let watchers = self.shared.maintenance_watchers.lock().clone();
        watchers.iter().for_each(|watcher| watcher(&done, outcome.as_ref().err()));
        outcome.map(|()| done)
    }

    /// Calls `watcher` with what each maintenance did, also that of the engine's thread, and with the first error it met. It must
    /// be quick.
    pub fn on_maintenance(&self, watcher: impl Fn(&Maintenance, Option<&Error>) + Send + Sync + 'static) {
        self.shared.maintenance_watchers.lock().push(Arc::new(watcher));
    }

    fn maintain_all(&self) -> (Maintenance, Result<()>) {
        let mut done = Maintenance::default();
        let mut first = Ok(());
        let mut note = |outcome: Result<()>| {
            if first.is_ok() {
                first = outcome;
            }
        };
        for engine in self.opened_accounts().iter().skip(1) {
            let (of_account, outcome) = engine.maintain_all();
            if of_account != Maintenance::default() {
                done.accounts.push((engine.options().account.clone(), of_account));
            }
            note(outcome);
        }
        note(self.carry_on());
        for stream in self.all_streams() {
            match stream.maintain(&mut done) {
                // Deleted meanwhile.
                Err(Error::ResourceNotFound { .. }) => {}
                outcome => note(outcome),
            }
        }
        note(self.shared.control().and_then(|_control| self.shared.catalog.compact(&self.shared.store).map(drop)));
        note(self.shared.leases.compact(&self.shared.store).map(drop));
        if done != Maintenance::default() {
            *self.shared.maintained.lock() = done.clone();
        }
        (done, first)
    }

    /// What the last maintenance that found something to do did, of whoever called for it. A hot shard that no split would help
    /// is named here.
    pub fn last_maintenance(&self) -> Maintenance {
        self.shared.maintained.lock().clone()
    }

    /// Waits for everything that was put and closes the store with a clean end.
    ///
    /// # Errors
    /// As [`Store::close`].
    pub fn close(self) -> Result<()> {
        self.shared.store.clone().close()
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("store", &self.shared.store).finish()
    }
}

impl Shared {
    /// The right to change something, once nobody else is about to.
    ///
    /// # Errors
    /// As [`ControlLock::lock`].
    pub(crate) fn control(&self) -> Result<ControlGuard<'_>> {
        self.control.lock(self.store.core())
    }

    /// Now, never before the stamp of any record.
    pub(crate) fn now_ms(&self) -> u64 {
        self.store.core().stamp()
    }

    /// A clock that nobody sets, for what takes some time.
    pub(crate) fn monotonic_ms(&self) -> u64 {
        self.store.core().env.clock.monotonic_ms()
    }

    pub(crate) fn stream_arn(&self, name: &str) -> String {
        let EngineOptions { partition, region, account, .. } = &self.options;
        format!("arn:{partition}:kinesis:{region}:{account}:stream/{name}")
    }
}

fn catalog_name(tenant: Option<&str>) -> String {
    named("catalog", tenant)
}

fn leases_name(tenant: Option<&str>) -> String {
    named("leases", tenant)
}

fn named(table: &str, tenant: Option<&str>) -> String {
    tenant.map_or_else(|| format!("{INTERNAL_PREFIX}{table}"), |tenant| format!("{INTERNAL_PREFIX}{table}/{tenant}"))
}

fn damaged(what: crate::format::Damage) -> Error {
    Error::damaged("the catalog of streams", 0)(what)
}

/// The row that is there from the first commit to the catalog on.
fn engine_row(catalog: &Table) -> Result<Option<EngineRow>> {
    let rows = catalog.rows(rows::ENGINE_KEY);
    rows.first().map(|(_, row)| EngineRow::decode(row).map_err(damaged)).transpose()
}

/// Tells sequence numbers of one store from those of most others: of 256 stores one has the same, and a copy has that of its original.
/// Accounts in one store may have the same, too; their shards differ in the second of their birth.
fn store_digit(origin: StoreId, tenant: Option<&str>) -> u8 {
    tenant.into_iter().flat_map(str::bytes).fold(origin.0[0], |digit, byte| digit.wrapping_mul(31).wrapping_add(byte))
}

/// Streams, shards and consumers from their rows, and what is still to be done of streams' shards.
fn load(catalog: &Table, store_digit: u8) -> std::result::Result<(Streams, Asked), crate::format::Damage> {
    let mut shards: HashMap<u64, Vec<Arc<ShardState>>> = HashMap::new();
    for (key, value) in catalog.rows(rows::SHARD_PREFIX) {
        let (stream, rest) = rows::parse_key(&key)?;
        let index = u32::from_be_bytes(rest.try_into().map_err(|_| crate::format::Damage::Bounds)?);
        let shard = ShardState::new(stream, ShardId(index), ShardRow::decode(&value)?, store_digit);
        shards.entry(stream).or_default().push(Arc::new(shard));
    }
    let mut consumers: HashMap<u64, BTreeMap<String, ConsumerRow>> = HashMap::new();
    for (key, value) in catalog.rows(rows::CONSUMER_PREFIX) {
        let (stream, name) = rows::parse_key(&key)?;
        let name = std::str::from_utf8(name).map_err(|_| crate::format::Damage::Bounds)?.to_owned();
        consumers.entry(stream).or_default().insert(name, ConsumerRow::decode(&value)?);
    }
    let mut scalings: HashMap<u64, ScalingRow> = HashMap::new();
    for (key, value) in catalog.rows(rows::SCALING_PREFIX) {
        scalings.insert(rows::parse_key(&key)?.0, ScalingRow::decode(&value)?);
    }
    let mut asked = Asked::new();
    for (key, value) in catalog.rows(rows::RESHARD_PREFIX) {
        asked.push((rows::parse_key(&key)?.0, ReshardRow::decode(&value)?));
    }
    let mut streams = Streams::default();
    for (_, value) in catalog.rows(rows::STREAM_PREFIX) {
        let row = StreamRow::decode(&value)?;
        let (shards, consumers) = (shards.remove(&row.id), consumers.remove(&row.id));
        let scaling = scalings.remove(&row.id).unwrap_or_default();
        let state = StreamState::new(row, shards.unwrap_or_default(), consumers.unwrap_or_default());
        state.set_scaling(scaling);
        if !state.shards().tiles() {
            return Err(crate::format::Damage::Bounds);
        }
        let state = Arc::new(state);
        streams.by_id.insert(state.id, state.clone());
        streams.by_name.insert(state.name.clone(), state);
    }
    Ok((streams, asked))
}
