//! An atomic number whose sequentially consistent changes loom sees as such.
//!
//! Loom treats sequentially consistent accesses as acquire and release, which is weaker: of two threads that each change one
//! number and then look at the other's, both may miss the change. It honours fences, so a fence follows each such change, as
//! it does in what compilers make of it.

use loom::sync::atomic::{AtomicU64 as Inner, Ordering, fence};

#[derive(Default, Debug)]
pub(crate) struct AtomicU64(Inner);

fn after<T>(order: Ordering, result: T) -> T {
    if order == Ordering::SeqCst {
        fence(Ordering::SeqCst);
    }
    result
}

impl AtomicU64 {
    pub(crate) fn new(value: u64) -> AtomicU64 {
        AtomicU64(Inner::new(value))
    }

    pub(crate) fn load(&self, order: Ordering) -> u64 {
        self.0.load(order)
    }

    pub(crate) fn store(&self, value: u64, order: Ordering) {
        self.0.store(value, order);
        after(order, ());
    }

    pub(crate) fn fetch_max(&self, value: u64, order: Ordering) -> u64 {
        after(order, self.0.fetch_max(value, order))
    }

    pub(crate) fn fetch_add(&self, n: u64, order: Ordering) -> u64 {
        after(order, self.0.fetch_add(n, order))
    }

    pub(crate) fn fetch_sub(&self, n: u64, order: Ordering) -> u64 {
        after(order, self.0.fetch_sub(n, order))
    }

    pub(crate) fn fetch_update(
        &self,
        set: Ordering,
        fetch: Ordering,
        change: impl FnMut(u64) -> Option<u64>,
    ) -> Result<u64, u64> {
        after(set, self.0.fetch_update(set, fetch, change))
    }
}
