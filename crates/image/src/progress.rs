//! What whoever waits for an image is told meanwhile.

/// Where a layer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is not begun.
    Waiting,
    /// It is being moved.
    Moving,
    /// It was there.
    Present,
    /// It is there now.
    Done,
}

/// Is told, from several threads at once.
pub trait Events: Sync {
    /// The image of this name is not in the store, and its registry is asked for it now.
    fn not_here(&self, _name: &str) {}
    /// There is a layer, the `index`th, counted from the lowest: its digest, and its bytes as they are moved.
    fn layer_found(&self, index: usize, digest: &str, size: u64);
    /// So many bytes of it have been moved.
    fn layer_progress(&self, index: usize, done: u64);
    /// It stands there now.
    fn layer_state(&self, index: usize, state: State);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Events for Silent {
    fn layer_found(&self, _: usize, _: &str, _: u64) {}
    fn layer_progress(&self, _: usize, _: u64) {}
    fn layer_state(&self, _: usize, _: State) {}
}
