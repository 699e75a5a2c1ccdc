//! Whether a file or directory is as it was when it was read, by its times.
//!
//! The kernel's clock for these goes in jiffies, of up to 10 ms: what is changed twice within one has the same time
//! twice. So a time is trusted once it was 20 ms old when the thing was read; until then it is read again.

use rustix::fs::Stat;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Nanoseconds that a time must be past.
const SETTLED: i128 = 20_000_000;

/// What something was like when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    size: i64,
    changed: i128,
    is_settled: bool,
}

impl Stamp {
    /// Of what is going to be read now, after this.
    pub(crate) fn of(stat: &Stat) -> Stamp {
        Stamp::at(stat, clock_gettime(ClockId::Realtime))
    }

    fn at(stat: &Stat, now: Timespec) -> Stamp {
        let nanoseconds = |seconds: i64, more: i64| i128::from(seconds) * 1_000_000_000 + i128::from(more);
        #[allow(clippy::unnecessary_cast, reason = "their types are each architecture's own")]
        let changed = nanoseconds(stat.st_mtime as i64, stat.st_mtime_nsec as i64);
        let is_settled = changed + SETTLED < nanoseconds(now.tv_sec, now.tv_nsec);
        #[allow(clippy::unnecessary_cast, reason = "their types are each architecture's own")]
        Stamp { device: stat.st_dev as u64, inode: stat.st_ino as u64, size: stat.st_size as i64, changed, is_settled }
    }

    /// True when what was read with this stamp need not be read again.
    pub(crate) fn holds(&self, stat: &Stat) -> bool {
        // It was settled when it was read, whatever it is by now.
        *self == Stamp { is_settled: true, ..Stamp::of(stat) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use rustix::fs::fstat;

    #[test]
    fn a_time_is_trusted_when_it_is_old_enough() {
        let scratch = Scratch::new();
        let stat = fstat(&scratch).unwrap();
        let changed = Timespec { tv_sec: stat.st_mtime as _, tv_nsec: stat.st_mtime_nsec as _ };
        for (milliseconds, expected) in [(-5, false), (0, false), (19, false), (21, true), (5000, true)] {
            let nanoseconds = i128::from(changed.tv_nsec) + milliseconds * 1_000_000;
            let now = Timespec {
                tv_sec: changed.tv_sec + nanoseconds.div_euclid(1_000_000_000) as i64,
                tv_nsec: nanoseconds.rem_euclid(1_000_000_000) as i64,
            };
            assert_eq!(Stamp::at(&stat, now).holds(&stat), expected, "{milliseconds} ms");
        }
        std::thread::sleep(std::time::Duration::from_millis(30));
        let stamp = Stamp::of(&stat);
        assert!(stamp.holds(&fstat(&scratch).unwrap()));
        std::fs::write(scratch.path().join("x"), "").unwrap();
        assert!(!stamp.holds(&fstat(&scratch).unwrap()));
    }
}
