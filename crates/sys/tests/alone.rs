//! What needs a process of one thread: `cargo test`'s own harness has several, so this program is its own.

use rustix::fs::{FlockOperation, flock};
use std::fs::File;

fn main() {
    code_goes_and_comes_back();
    no_lock_goes_on_in_a_detached_process();
}

/// How often this process has had a page mapped. [proc_pid_stat(5), minflt]
fn page_faults() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit_once(") ").unwrap().1;
    after_name.split(' ').nth(7).unwrap().parse().unwrap()
}

fn code_goes_and_comes_back() {
    let faults = |work: fn()| {
        let before = page_faults();
        work();
        page_faults() - before
    };
    let of_nothing = (0..10).map(|_| faults(|| {})).min();
    let of_code = faults(|| sys::memory::let_go_of_code().unwrap());
    assert!(Some(of_code) > of_nothing, "no code had to be mapped again");
    sys::memory::let_go_of_code().unwrap();
}

/// Who takes a lock and makes such a process has not the lock any more when it has given it back.
fn no_lock_goes_on_in_a_detached_process() {
    let path = std::env::temp_dir().join(format!("mycontainer-sys-alone-{}", std::process::id()));
    File::create(&path).unwrap();
    for round in 0..200 {
        let locked = File::open(&path).unwrap();
        flock(&locked, FlockOperation::NonBlockingLockExclusive).unwrap_or_else(|e| panic!("round {round}: {e}"));
        sys::detach::spawn_detached(c"mc-alone", &[], || {}).unwrap();
    }
    std::fs::remove_file(&path).unwrap();
}
