//! Black-box tests of the image store: hand-made archives, other programs' archives, hostile ones, crashes, full disks.

mod archives;
mod hostile;
mod moved;
mod mutations;
mod oracles;
mod removal;
mod store;
mod support;
