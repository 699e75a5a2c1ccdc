//! Black-box tests of the image store: hand-made archives, other programs' archives, hostile ones, crashes, full disks.

mod archives;
mod erofs;
mod hostile;
mod layers;
mod mounting;
mod moved;
mod mutations;
mod oracles;
mod removal;
mod store;
mod support;
