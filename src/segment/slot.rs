//! The open files of one segment: the one in use, those that were put aside, and whether anybody still needs one.
//!
//! It knows nothing of files, so that the models in `tests/loom` run this code and not a copy of it.

use crate::sync::{Ordering, fence};

/// An open file with its mapping, held by whoever uses it.
pub(super) trait Shared: Clone {
    /// How many hold it, the slot among them.
    fn holders(&self) -> usize;

    /// How many slices of its mapping there are.
    fn pins(&self) -> usize;

    /// A segment that is written may have been put aside and opened again for a reader only.
    fn is_writable(&self) -> bool;

    /// A holder that let go took its slices before: what it did must be seen before they are counted.
    fn see_what_holders_did(&self) {
        fence(Ordering::Acquire);
    }

    /// Whether anybody but the slot holds it or a slice of its mapping.
    fn is_used(&self) -> bool {
        if self.holders() > 1 {
            return true;
        }
        self.see_what_holders_did();
        self.pins() > 0
    }
}

/// The open files of one segment.
pub(super) struct OpenSlot<O> {
    current: Option<O>,
    /// Put aside while somebody still used them, so that whether the file may be shrunk can be told.
    earlier: Vec<O>,
    /// The file has no name any more: nobody opens it again.
    buried: bool,
    /// It was closed after it was written, and not synced since: a descriptor that is opened anew may not be told of what the
    /// kernel failed to write meanwhile.
    untold: bool,
}

impl<O> Default for OpenSlot<O> {
    fn default() -> Self {
        OpenSlot { current: None, earlier: Vec::new(), buried: false, untold: false }
    }
}

impl<O: Shared> OpenSlot<O> {
    pub(super) fn current(&self) -> Option<&O> {
        self.current.as_ref()
    }

    /// What is open and may write.
    pub(super) fn writable(&self) -> Option<&O> {
        self.current().filter(|open| open.is_writable())
    }

    /// All that is open, by what is known: what was put aside may have been let go of since.
    pub(super) fn all(&self) -> impl Iterator<Item = &O> {
        self.current.iter().chain(&self.earlier)
    }

    pub(super) fn is_buried(&self) -> bool {
        self.buried
    }

    /// Whether something is open that nobody uses.
    pub(super) fn is_idle(&self) -> bool {
        self.current.as_ref().is_some_and(|open| !open.is_used())
    }

    /// From now on this is what is open.
    pub(super) fn put(&mut self, open: O) {
        self.put_aside();
        self.current = Some(open);
    }

    fn put_aside(&mut self) {
        self.earlier.retain(O::is_used);
        self.earlier.extend(self.current.take().filter(O::is_used));
    }

    /// Lets go of the descriptor, for now.
    pub(super) fn close(&mut self) {
        self.untold |= self.writable().is_some();
        self.put_aside();
    }

    /// Nobody opens it again.
    pub(super) fn bury(&mut self) {
        self.buried = true;
        self.put_aside();
    }

    /// Whether a reader may still touch the file through a descriptor, a mapping or a slice of one.
    pub(super) fn is_pinned(&mut self) -> bool {
        self.put_aside();
        !self.earlier.is_empty()
    }

    /// Whether what is open now can't have been told of all that the kernel failed to write; asked once for each sync.
    pub(super) fn take_untold(&mut self) -> bool {
        std::mem::take(&mut self.untold)
    }
}
