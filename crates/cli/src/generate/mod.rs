//! `generate`: what other programs read, made from what this one knows.

mod man;
mod systemd;

pub(crate) use man::MAN;
pub(crate) use systemd::SYSTEMD;
