//! What a machine must do when a step of it panics.

/// Does something when it is dropped, but not after [`Unless::passed`]: a panic keeps whoever has it from saying that. Whether the
/// thread panics is no sign, for a step may be taken by a destructor of a thread that unwinds already.
pub(super) struct Unless<F: FnMut()>(F);

impl<F: FnMut()> Unless<F> {
    pub(super) fn new(otherwise: F) -> Unless<F> {
        Unless(otherwise)
    }

    /// All went well.
    pub(super) fn passed(self) {
        std::mem::forget(self);
    }
}

impl<F: FnMut()> Drop for Unless<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
