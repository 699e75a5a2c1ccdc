//! What needs a process of one thread: `cargo test`'s own harness has several, so this program is its own.

use rustix::fs::{FlockOperation, flock};
use std::fs::File;

#[global_allocator]
static ALLOCATOR: sys::arena::Arena = sys::arena::Arena;

fn main() {
    pieces_overlap_nowhere();
    code_goes_and_comes_back();
    no_lock_goes_on_in_a_detached_process();
}

/// Whatever is taken, grown, cut and given back, also beyond the arena's end: each piece has what was written to it.
fn pieces_overlap_nowhere() {
    let mut pieces: Vec<Vec<u64>> = Vec::new();
    let mut random = 1_u64;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) as usize % below
    };
    for round in 0..20_000_u64 {
        match next(4) {
            0 | 1 => pieces.push(vec![round; next(200)]),
            _ if pieces.is_empty() => {}
            2 => {
                let at = next(pieces.len());
                let piece = pieces.swap_remove(at);
                assert!(piece.iter().all(|word| Some(word) == piece.first()), "{piece:?}");
            }
            _ => {
                let at = next(pieces.len());
                let length = pieces[at].len().saturating_sub(20) + next(40);
                let word = pieces[at].first().copied().unwrap_or(round);
                let more = length.saturating_sub(pieces[at].len());
                pieces[at].reserve_exact(more);
                pieces[at].resize(length, word);
                pieces[at].shrink_to_fit();
            }
        }
    }
    assert!(pieces.iter().all(|piece| piece.iter().all(|word| Some(word) == piece.first())));
    let aligned: Vec<Box<Aligned>> = (0..10).map(|n| Box::new(Aligned(n))).collect();
    assert!(aligned.iter().all(|piece| std::ptr::from_ref(&**piece).addr() % 512 == 0 && piece.0 < 10));
}

#[repr(align(512))]
struct Aligned(u8);

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
