//! stub
use crate::error::Error;
use crate::procfs::Procfs;
use oci_spec::runtime::LinuxIdMapping;
use std::os::fd::OwnedFd;
#[derive(Clone, Debug)]
pub(crate) struct IdMap {
    pub(crate) container: u32,
    pub(crate) host: u32,
    pub(crate) size: u32,
}
pub(crate) fn parse(m: &[LinuxIdMapping]) -> Result<Vec<IdMap>, Error> {
    Ok(m.iter().map(|m| IdMap { container: m.container_id(), host: m.host_id(), size: m.size() }).collect())
}
pub(crate) fn write_maps(proc: &Procfs, pid: i32, uid: &[IdMap], gid: &[IdMap]) -> Result<(), Error> {
    for (f, m) in [("uid_map", uid), ("gid_map", gid)] {
        let t: String = m.iter().map(|m| format!("{} {} {}\n", m.container, m.host, m.size)).collect();
        let fd = proc.open(&format!("{pid}/{f}"), rustix::fs::OFlags::WRONLY).map_err(Error::Proc)?;
        rustix::io::write(&fd, t.as_bytes()).map_err(Error::Proc)?;
    }
    Ok(())
}
pub(crate) fn user_namespace(_uid: &[IdMap], _gid: &[IdMap]) -> Result<OwnedFd, Error> {
    Err(Error::Vanished)
}
