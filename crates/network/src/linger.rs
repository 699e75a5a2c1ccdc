//! Rules that were removed, and what they cost whoever removed them.
//!
//! The kernel frees what a transaction removed only when no processor can still look at it, some 10 ms later, and who
//! closes an nfnetlink socket meanwhile waits for that, with all changes of rules behind him. [net/netfilter/nf_tables_api.c,
//! nft_rcv_nl_event] To leave the closing to the end of the process does not help: its parent waits for it.
//!
//! So the last reference to such a socket goes to a process `mc-close`, forked without exec as the janitor is, which has
//! nothing but the socket, sleeps until the kernel is done, and ends. Nothing depends on it: where it cannot be made, or is
//! killed, the socket is closed a little earlier and somebody waits.

use crate::network::Network;
use crate::socket::Netlink;
use rustix::thread::{NanosleepRelativeResult, Timespec, nanosleep};
use std::os::fd::AsFd;
use std::time::Duration;
use step::step;

/// How long it sleeps: several grace periods.
const LONG_ENOUGH: Duration = Duration::from_millis(100);
/// Its name in `ps`.
const NAME: &std::ffi::CStr = c"mc-close";

impl Drop for Network {
    fn drop(&mut self) {
        let is_waited_for = |netfilter: &&Netlink| netfilter.since_removal().is_some_and(|since| since < LONG_ENOUGH);
        let Some(netfilter) = self.netfilter.get().filter(is_waited_for) else { return };
        // A claim is let go of before there is a process that has a copy of it.
        self.claims().clear();
        let _ = step(
            "leave-socket",
            "who closes it while the kernel frees what was removed waits some 10 ms",
            || "process mc-close, which has the socket for another 100 ms".to_owned(),
            || sys::detach::spawn_detached(NAME, &[netfilter.as_fd()], sleep),
        );
    }
}

fn sleep() {
    let mut left = Timespec { tv_sec: 0, tv_nsec: LONG_ENOUGH.subsec_nanos().into() };
    while let NanosleepRelativeResult::Interrupted(rest) = nanosleep(&left) {
        left = rest;
    }
}
