//! Groups that systemd owns: a transient scope (or slice) a container, over D-Bus.
//!
//! systemd wants to be the only one that makes groups outside of what it delegated, so it is asked for a scope with the
//! container's first process in it and `Delegate=`: from then on what is inside is ours. Limits are given twice. As
//! properties of the unit, as far as there are such, so that systemd writes the same values when it writes them again
//! (`daemon-reload`); then to the group's files by us, exactly, and with all that systemd has no property for.
//!
//! What is left on the host: the unit, which systemd itself collects when its last process is gone. Where its group is
//! follows from the names of slice and scope and from the manager's own group.

use crate::dbus::{Connection, Fault, Message, Target};
use crate::dbus_value::Value;
use crate::{Error, gvariant, location};
use std::time::{Duration, Instant};
use step::step;

const PRIVATE: &str = "unix:path=/run/systemd/private";
const BUS: &str = "unix:path=/run/dbus/system_bus_socket";
/// How long a call, or a job with its call, may take: runc waits as long.
const PATIENCE: Duration = Duration::from_secs(30);

const MANAGER: Target<'static> = Target {
    destination: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
};

/// A transient unit.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    slice: String,
    name: String,
    user: bool,
    properties: Vec<(String, String)>,
}

/// A property and its value, for the bus.
pub(crate) type Property = (String, Value);

/// A connection to the manager, and how it was reached.
struct Manager {
    bus: Connection,
    unit: String,
}

impl Unit {
    pub(crate) fn new(slice: &str, name: &str, user: bool, properties: &[(String, String)]) -> Result<Self, Error> {
        location::slice_path(slice)?;
        let wrong = |why| Error::Location { location: name.into(), why };
        if name.is_empty() || name.len() > 255 || name.contains(['/', '\0']) {
            return Err(wrong("a unit's name has 1 to 255 bytes and no slash"));
        }
        if !name.ends_with(".scope") {
            location::slice_path(name)?;
        }
        Ok(Self { slice: slice.into(), name: name.into(), user, properties: properties.to_vec() })
    }

    fn is_slice(&self) -> bool {
        self.name.ends_with(".slice")
    }

    /// Where the group is, below the manager's own.
    fn path_below_manager(&self) -> Result<String, Error> {
        // A slice is where its own name says.
        if self.is_slice() {
            return location::slice_path(&self.name);
        }
        let slice = location::slice_path(&self.slice)?;
        Ok(if slice.is_empty() { self.name.clone() } else { format!("{slice}/{}", self.name) })
    }

    /// Where the group is below the root, without a slash in front. systemd is asked only when the system's manager is
    /// not at the root or the user's is meant; `is_there` tells whether a path is a group.
    pub(crate) fn path(&self, is_there: impl Fn(&str) -> bool) -> Result<String, Error> {
        let below = self.path_below_manager()?;
        if !self.user && is_there(&below) {
            return Ok(below);
        }
        let own = self.connect().and_then(|mut manager| manager.control_group());
        Ok(match own {
            Ok(own) if !own.is_empty() => format!("{own}/{below}"),
            // A manager that is gone has no groups any more.
            Ok(_) | Err(_) => below,
        })
    }

    /// Starts the unit with `pid` in it, and waits until it is there.
    pub(crate) fn start(&self, pid: i32, limits: Vec<Property>, is_v2: bool) -> Result<(), Error> {
        let mut properties = self.own_properties(pid, is_v2);
        properties.extend(limits);
        for (name, text) in &self.properties {
            properties.push(gvariant::property(name, text)?);
        }
        let what = || format!("StartTransientUnit {} with process {pid} in {}", self.name, self.slice);
        let why = "systemd owns the tree of groups, and gives us a part of it";
        step("start-unit", why, what, || {
            let mut manager = self.connect()?;
            match manager.start(&properties) {
                // Perhaps left there by a container that failed: that can be forgotten, a running one cannot.
                Err(Fault::Refused { name, .. }) if name.ends_with(".UnitExists") => {
                    let _ = manager.reset_failed();
                    manager.start(&properties)
                }
                other => other,
            }
            .map_err(|fault| manager.failed("start", &fault))
        })
    }

    fn own_properties(&self, pid: i32, is_v2: bool) -> Vec<Property> {
        let io = if is_v2 { "IOAccounting" } else { "BlockIOAccounting" };
        let mut properties: Vec<Property> = ["MemoryAccounting", "CPUAccounting", io, "TasksAccounting"]
            .iter()
            .map(|name| ((*name).to_owned(), Value::Bool(true)))
            .collect();
        let mut push = |name: &str, value: Value| properties.push((name.to_owned(), value));
        push("Description", Value::Str(format!("mycontainer container {}", self.name)));
        push("DefaultDependencies", Value::Bool(false));
        push("CollectMode", Value::str("inactive-or-failed"));
        if self.is_slice() {
            push("Wants", Value::Array("s".into(), vec![Value::str(&self.slice)]));
        } else {
            push("Slice", Value::str(&self.slice));
            push("Delegate", Value::Bool(true));
            push("PIDs", Value::Array("u".into(), vec![Value::U32(pid.unsigned_abs())]));
        }
        properties
    }

    /// True when the first process must be moved there by us: systemd puts processes only into scopes.
    pub(crate) fn needs_move(&self) -> bool {
        self.is_slice()
    }

    /// Moves this process to the group `inside` of the unit's, which is there. systemd asks the one above it where it may not
    /// do so itself. [org.freedesktop.systemd1(5), AttachProcessesToUnit]
    pub(crate) fn attach(&self, inside: &str) -> Result<(), Error> {
        let what = || format!("AttachProcessesToUnit {} {inside}", self.name);
        step("attach-to-unit", "who starts a process in a group is near it in the tree", what, || {
            let mut manager = self.connect()?;
            // 0 is who asks, whatever number that has where systemd is.
            let own = Value::Array("u".into(), vec![Value::U32(0)]);
            let body = [Value::str(&self.name), Value::Str(format!("/{inside}")), own];
            let done = manager.bus.call(MANAGER, "AttachProcessesToUnit", &body);
            done.map(drop).map_err(|fault| manager.failed("move this process to", &fault))
        })
    }

    /// Changes properties until the next boot.
    pub(crate) fn set(&self, properties: &[Property]) -> Result<(), Error> {
        if properties.is_empty() {
            return Ok(());
        }
        let mut manager = self.connect()?;
        let body = [Value::str(&self.name), Value::Bool(true), dictionary(properties)];
        let done = manager.bus.call(MANAGER, "SetUnitProperties", &body);
        done.map(drop).map_err(|fault| manager.failed("change", &fault))
    }

    /// Stops the unit, and lets systemd forget it if it failed. One that is gone is as good as stopped.
    pub(crate) fn stop(&self) -> Result<(), Error> {
        step(
            "stop-unit",
            "systemd forgets the container",
            || format!("StopUnit {}", self.name),
            || {
                let mut manager = self.connect()?;
                let stopped = match manager.stop() {
                    Err(Fault::Refused { name, .. }) if name.ends_with(".NoSuchUnit") => Ok(()),
                    done => done.map_err(|fault| manager.failed("stop", &fault)),
                };
                // Says NoSuchUnit when it did not fail, which is the common case.
                let _ = manager.reset_failed();
                stopped
            },
        )
    }

    fn connect(&self) -> Result<Manager, Error> {
        let (private, bus) = if self.user { user_addresses() } else { system_addresses() };
        let private = private.and_then(|address| Connection::open(&address, PATIENCE).ok());
        let bus = match private {
            Some(bus) => bus,
            None => {
                let failed = |fault: Fault| Error::Bus { address: bus.clone(), why: fault.to_string() };
                let mut connection = Connection::open(&bus, PATIENCE).map_err(failed)?;
                connection.greet_bus().map_err(failed)?;
                connection
            }
        };
        let mut manager = Manager { bus, unit: self.name.clone() };
        // Signals of jobs go only to those who asked. To the private socket they go anyway, and it may say no.
        let _ = manager.bus.call(MANAGER, "Subscribe", &[]);
        Ok(manager)
    }
}

/// The manager's own socket, for root, and the bus.
fn system_addresses() -> (Option<String>, String) {
    let private = rustix::process::geteuid().is_root().then(|| PRIVATE.to_owned());
    (private, std::env::var("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_else(|_| BUS.to_owned()))
}

/// Whether it is the user's systemd that makes our groups: of anyone but the host's root, and of root in a user namespace
/// if the user who that is outside has one. In a container whose first process is systemd it is that one.
pub(crate) fn is_users() -> bool {
    if !rustix::process::geteuid().is_root() {
        return true;
    }
    let is_own = || !sys::namespace::is_first_user() && sys::namespace::uid_outside() != Some(0);
    let is_there = |address: &str| {
        let path = address.strip_prefix("unix:path=").and_then(|rest| rest.split([',', ';']).next());
        path.is_some_and(|path| std::path::Path::new(path).exists())
    };
    is_own() && {
        let (private, bus) = user_addresses();
        is_there(&bus) || private.is_some_and(|private| is_there(&private))
    }
}

/// The group of the user's systemd, below the root, without slashes around it.
pub(crate) fn group_of_user() -> Result<String, Error> {
    Unit::new("user.slice", "mycontainer.scope", true, &[])?.connect()?.control_group()
}

fn user_addresses() -> (Option<String>, String) {
    // Inside a user namespace the sockets are still the outer user's.
    let uid = || match rustix::process::geteuid() {
        root if root.is_root() => sys::namespace::uid_outside().unwrap_or(0),
        user => user.as_raw(),
    };
    let runtime = std::env::var("XDG_RUNTIME_DIR").unwrap_or_else(|_| format!("/run/user/{}", uid()));
    let bus = std::env::var("DBUS_SESSION_BUS_ADDRESS").unwrap_or_else(|_| format!("unix:path={runtime}/bus"));
    (Some(format!("unix:path={runtime}/systemd/private")), bus)
}

/// Properties as the bus takes them: `a(sv)`.
fn dictionary(properties: &[Property]) -> Value {
    let pair =
        |(name, value): &Property| Value::Struct(vec![Value::str(name), Value::Variant(Box::new(value.clone()))]);
    Value::Array("(sv)".into(), properties.iter().map(pair).collect())
}

impl Manager {
    fn failed(&self, act: &'static str, fault: &Fault) -> Error {
        let why = match fault {
            Fault::TimedOut => format!("it did not answer, or not finish the job, within {} s", PATIENCE.as_secs()),
            other => other.to_string(),
        };
        Error::Unit { act, unit: self.unit.clone(), name: crate::delegation::name_of(fault), why }
    }

    fn start(&mut self, properties: &[Property]) -> Result<(), Fault> {
        let none = Value::Array("(sa(sv))".into(), Vec::new());
        let body = [Value::str(&self.unit), Value::str("replace"), dictionary(properties), none];
        let job = self.bus.call(MANAGER, "StartTransientUnit", &body)?;
        let result = self.wait_for(&job)?;
        if result == "done" {
            return Ok(());
        }
        let _ = self.reset_failed();
        Err(Fault::Refused { name: String::new(), text: format!("the job ended with \"{result}\"") })
    }

    fn stop(&mut self) -> Result<(), Fault> {
        let job = self.bus.call(MANAGER, "StopUnit", &[Value::str(&self.unit), Value::str("replace")])?;
        self.wait_for(&job).map(drop)
    }

    fn reset_failed(&mut self) -> Result<(), Fault> {
        self.bus.call(MANAGER, "ResetFailedUnit", &[Value::str(&self.unit)]).map(drop)
    }

    /// How a job ended: `done`, `failed`, `canceled`, `timeout`, ...
    fn wait_for(&mut self, job: &[Value]) -> Result<String, Fault> {
        let [job @ Value::Path(_)] = job else { return Err(Fault::Malformed("a job")) };
        self.bus.deadline = Instant::now() + PATIENCE;
        loop {
            let Message { interface, member, body, .. } = self.bus.signal()?;
            if interface != MANAGER.interface || member != "JobRemoved" {
                continue;
            }
            // Number, job, unit, result.
            if let [_, ended, _, Value::Str(result)] = &body[..]
                && ended == job
            {
                return Ok(result.clone());
            }
        }
    }

    /// The manager's own group, without slashes around it.
    fn control_group(&mut self) -> Result<String, Error> {
        let properties = Target { interface: "org.freedesktop.DBus.Properties", ..MANAGER };
        let body = [Value::str(MANAGER.interface), Value::str("ControlGroup")];
        let found = self.bus.call(properties, "Get", &body).map_err(|fault| self.failed("find", &fault))?;
        match &found[..] {
            [Value::Variant(inner)] => match &**inner {
                Value::Str(path) if path.trim_matches('/').is_empty() => Ok(String::new()),
                Value::Str(path) => location::normal(path),
                _ => Err(self.failed("find", &Fault::Malformed("ControlGroup"))),
            },
            _ => Err(self.failed("find", &Fault::Malformed("ControlGroup"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(slice: &str, name: &str) -> Unit {
        Unit::new(slice, name, false, &[]).unwrap()
    }

    #[test]
    fn a_units_group_follows_from_its_names() {
        for (slice, name, path) in [
            ("system.slice", "docker-1.scope", "system.slice/docker-1.scope"),
            ("a-b.slice", "x.scope", "a.slice/a-b.slice/x.scope"),
            ("-.slice", "x.scope", "x.scope"),
            ("system.slice", "a-b.slice", "a.slice/a-b.slice"),
        ] {
            assert_eq!(unit(slice, name).path_below_manager().unwrap(), path);
            assert_eq!(unit(slice, name).path(|_| true).unwrap(), path);
        }
        for (slice, name) in
            [("system", "x.scope"), ("a.slice", "../x.scope"), ("a.slice", ""), ("a.slice", "x.service")]
        {
            assert!(Unit::new(slice, name, false, &[]).is_err(), "{slice} {name}");
        }
    }

    #[test]
    fn a_scope_has_a_process_and_a_slice_has_none() {
        let names =
            |unit: &Unit, v2| -> Vec<String> { unit.own_properties(5, v2).into_iter().map(|(name, _)| name).collect() };
        let scope = names(&unit("system.slice", "x.scope"), true);
        for name in ["Slice", "Delegate", "PIDs", "IOAccounting", "CollectMode", "DefaultDependencies"] {
            assert!(scope.iter().any(|found| found == name), "{name}");
        }
        let slice = names(&unit("system.slice", "x.slice"), false);
        assert!(slice.iter().any(|name| name == "Wants") && slice.iter().any(|name| name == "BlockIOAccounting"));
        assert!(!slice.iter().any(|name| name == "PIDs" || name == "Slice"));
    }

    #[test]
    fn without_systemd_the_socket_is_named() {
        if std::path::Path::new("/run/systemd/private").exists() || std::path::Path::new("/run/dbus").exists() {
            eprintln!("skipped: there is a systemd or a bus here");
            return;
        }
        let refused = unit("system.slice", "x.scope").start(1, Vec::new(), true).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "cannot talk to systemd at unix:path=/run/dbus/system_bus_socket: No such file or directory (os error 2)"
        );
        assert!(refused.hint().unwrap().contains("--systemd-cgroup"));
    }
}
