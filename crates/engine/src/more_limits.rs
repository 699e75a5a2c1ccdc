//! Limits that a container is made with, and that `update` does not change: shares of processors by the kernel's own two
//! numbers, memory that is kept free for it, and what it may read and write.

use crate::error::Error;
use crate::options::RunOptions;
use crate::parse::{self, ParseError};
use oci_spec::runtime::{LinuxBlockIo, LinuxResources, LinuxThrottleDevice, LinuxThrottleDeviceBuilder};
use rustix::fs::FileType;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What the flags ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MoreLimits {
    /// `--cpu-quota` in microseconds a period; below zero is no limit.
    pub cpu_quota: Option<i64>,
    /// `--cpu-period` in microseconds.
    pub cpu_period: Option<u64>,
    /// `--cpuset-mems`.
    pub cpuset_mems: Option<String>,
    /// `--memory-reservation` in bytes.
    pub memory_reservation: Option<u64>,
    /// `--memory-swappiness`.
    pub swappiness: Option<u64>,
    /// `--blkio-weight`.
    pub blkio_weight: Option<u16>,
    /// `--device-read-bps` and its kin.
    pub rates: Vec<Rate>,
}

/// How fast a disk may be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// What is counted.
    pub of: RateOf,
    /// The disk's node on the host.
    pub device: PathBuf,
    /// So many a second.
    pub rate: u64,
}

/// What of a disk's use is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RateOf {
    /// `--device-read-bps`.
    ReadBytes,
    /// `--device-write-bps`.
    WriteBytes,
    /// `--device-read-iops`.
    ReadOperations,
    /// `--device-write-iops`.
    WriteOperations,
}

impl MoreLimits {
    /// `--cpu-quota`; 0 is as if it were not said.
    pub fn set_cpu_quota(&mut self, text: &str) -> Result<(), ParseError> {
        let quota: i64 = text.parse().map_err(|_| ParseError::new(text, "it is no number of microseconds"))?;
        if (1..1000).contains(&quota) {
            return Err(ParseError::new(text, "the kernel takes 1000 microseconds or more"));
        }
        self.cpu_quota = Some(quota).filter(|quota| *quota != 0);
        Ok(())
    }

    /// `--cpu-period`; 0 is as if it were not said.
    pub fn set_cpu_period(&mut self, text: &str) -> Result<(), ParseError> {
        let period: u64 = text.parse().map_err(|_| ParseError::new(text, "it is no number of microseconds"))?;
        if period != 0 && !(1000..=1_000_000).contains(&period) {
            return Err(ParseError::new(text, "the kernel takes 1000 to 1000000 microseconds"));
        }
        self.cpu_period = Some(period).filter(|period| *period > 0);
        Ok(())
    }

    /// `--cpuset-mems`.
    pub fn set_cpuset_mems(&mut self, text: &str) -> Result<(), ParseError> {
        self.cpuset_mems = Some(text.to_owned());
        Ok(())
    }

    /// `--memory-reservation`; 0 is as if it were not said.
    pub fn set_memory_reservation(&mut self, text: &str) -> Result<(), ParseError> {
        self.memory_reservation = Some(parse::size(text)?).filter(|size| *size > 0);
        Ok(())
    }

    /// `--memory-swappiness`; -1 is as if it were not said.
    pub fn set_swappiness(&mut self, text: &str) -> Result<(), ParseError> {
        self.swappiness = match text.parse::<i64>().map(u64::try_from) {
            Ok(Ok(percent)) if percent <= 100 => Some(percent),
            _ if text == "-1" => None,
            _ => return Err(ParseError::new(text, "it is no number from 0 to 100")),
        };
        Ok(())
    }

    /// `--blkio-weight`; 0 is as if it were not said.
    pub fn set_blkio_weight(&mut self, text: &str) -> Result<(), ParseError> {
        self.blkio_weight = match text.parse::<u16>() {
            Ok(0) => None,
            Ok(weight) if (10..=1000).contains(&weight) => Some(weight),
            _ => return Err(ParseError::new(text, "it is no number from 10 to 1000")),
        };
        Ok(())
    }

    /// `--device-read-bps DEVICE:RATE` and its kin.
    pub fn add_rate(&mut self, of: RateOf, text: &str) -> Result<(), ParseError> {
        let wrong = || ParseError::new(text, "write DEVICE:RATE, as /dev/sda:1m");
        let (device, rate) = text.rsplit_once(':').filter(|(device, _)| device.starts_with('/')).ok_or_else(wrong)?;
        let rate = match of {
            RateOf::ReadBytes | RateOf::WriteBytes => parse::size(rate)?,
            RateOf::ReadOperations | RateOf::WriteOperations => rate.parse().map_err(|_| wrong())?,
        };
        if rate == 0 {
            return Err(wrong());
        }
        self.rates.push(Rate { of, device: device.into(), rate });
        Ok(())
    }

    /// Puts them beside the others.
    pub(crate) fn add_to(&self, resources: &mut LinuxResources) -> Result<(), Error> {
        if self.cpu_quota.is_some() || self.cpu_period.is_some() || self.cpuset_mems.is_some() {
            let mut cpu = resources.cpu().clone().unwrap_or_default();
            cpu.set_quota(self.cpu_quota.or(cpu.quota()));
            cpu.set_period(self.cpu_period.or(cpu.period()));
            cpu.set_mems(self.cpuset_mems.clone());
            resources.set_cpu(Some(cpu));
        }
        if self.memory_reservation.is_some() || self.swappiness.is_some() {
            let mut memory = resources.memory().unwrap_or_default();
            memory.set_reservation(self.memory_reservation.map(|size| i64::try_from(size).unwrap_or(i64::MAX)));
            memory.set_swappiness(self.swappiness);
            resources.set_memory(Some(memory));
        }
        if self.blkio_weight.is_some() || !self.rates.is_empty() {
            resources.set_block_io(Some(self.block_io()?));
        }
        Ok(())
    }

    fn block_io(&self) -> Result<LinuxBlockIo, Error> {
        let of = |of: RateOf| -> Result<Option<Vec<LinuxThrottleDevice>>, Error> {
            let listed: Vec<LinuxThrottleDevice> =
                self.rates.iter().filter(|rate| rate.of == of).map(throttled).collect::<Result<_, _>>()?;
            Ok((!listed.is_empty()).then_some(listed))
        };
        let mut io = LinuxBlockIo::default();
        io.set_weight(self.blkio_weight);
        io.set_throttle_read_bps_device(of(RateOf::ReadBytes)?);
        io.set_throttle_write_bps_device(of(RateOf::WriteBytes)?);
        io.set_throttle_read_iops_device(of(RateOf::ReadOperations)?);
        io.set_throttle_write_iops_device(of(RateOf::WriteOperations)?);
        Ok(io)
    }
}

/// The disk by its number, as it is now.
fn throttled(rate: &Rate) -> Result<LinuxThrottleDevice, Error> {
    let stat = rustix::fs::stat(&rate.device).map_err(Error::file("look at the device", &rate.device))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::BlockDevice {
        let value = Path::new(&rate.device).display().to_string();
        return Err(Error::BadValue { flag: "--device-*-bps", value, reason: "it is no disk".into() });
    }
    let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    let device = LinuxThrottleDeviceBuilder::default().major(major).minor(minor).rate(rate.rate);
    device.build().map_err(|error| Error::Conflict(format!("--device-*-bps: {error}")))
}

/// Whether they can be, beside the others.
pub(crate) fn check(options: &RunOptions) -> Result<(), Error> {
    let (limits, more) = (&options.limits, &options.more_limits);
    if limits.nano_cpus.is_some() && (more.cpu_quota.is_some() || more.cpu_period.is_some()) {
        return Err(Error::Conflict(
            "--cpus says what --cpu-quota and --cpu-period say: leave one of them away".into(),
        ));
    }
    if let (Some(reserved), Some(memory)) = (more.memory_reservation, limits.memory)
        && reserved > memory
    {
        let reason = "it cannot be above --memory".into();
        return Err(Error::BadValue { flag: "--memory-reservation", value: reserved.to_string(), reason });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Limits;

    #[test]
    fn limits_in_the_configurations_terms() {
        let mut more = MoreLimits::default();
        more.set_cpu_quota("50000").unwrap();
        more.set_cpuset_mems("0").unwrap();
        more.set_memory_reservation("1m").unwrap();
        more.set_swappiness("0").unwrap();
        more.set_blkio_weight("500").unwrap();
        let mut resources = Limits { memory: Some(2 << 20), ..Limits::default() }.resources(false);
        more.add_to(&mut resources).unwrap();
        let cpu = resources.cpu().clone().unwrap();
        assert_eq!((cpu.quota(), cpu.period(), cpu.mems().as_deref()), (Some(50000), None, Some("0")));
        let memory = resources.memory().unwrap();
        assert_eq!(
            (memory.limit(), memory.reservation(), memory.swappiness()),
            (Some(2 << 20), Some(1 << 20), Some(0))
        );
        assert_eq!(resources.block_io().as_ref().unwrap().weight(), Some(500));
        more.add_rate(RateOf::ReadBytes, "/dev/null:1m").unwrap();
        assert!(matches!(more.add_to(&mut resources), Err(Error::BadValue { .. })), "no disk");
    }

    #[test]
    fn values_that_are_wrong() {
        let mut more = MoreLimits::default();
        for (wrong, is_right) in [
            (more.set_cpu_quota("999"), false),
            (more.set_cpu_quota("-1"), true),
            (more.set_cpu_period("999"), false),
            (more.set_cpu_period("1000001"), false),
            (more.set_swappiness("101"), false),
            (more.set_swappiness("-1"), true),
            (more.set_blkio_weight("9"), false),
            (more.set_blkio_weight("1001"), false),
            (more.add_rate(RateOf::ReadBytes, "sda:1m"), false),
            (more.add_rate(RateOf::ReadBytes, "/dev/sda:0"), false),
            (more.add_rate(RateOf::ReadOperations, "/dev/sda:1m"), false),
            (more.add_rate(RateOf::WriteOperations, "/dev/sda:7"), true),
        ] {
            assert_eq!(wrong.is_ok(), is_right);
        }
        let memory = Limits { memory: Some(1), ..Limits::default() };
        let cpus = Limits { nano_cpus: Some(1), ..Limits::default() };
        let reserved = MoreLimits { memory_reservation: Some(2), ..MoreLimits::default() };
        let period = MoreLimits { cpu_period: Some(1000), ..MoreLimits::default() };
        for (limits, more_limits, is_right) in [
            (memory.clone(), reserved.clone(), false),
            (memory, period.clone(), true),
            (cpus.clone(), period, false),
            (cpus, reserved, true),
        ] {
            assert_eq!(check(&RunOptions { limits, more_limits, ..RunOptions::default() }).is_ok(), is_right);
        }
    }
}
