//! Shares of cache and memory bandwidth: `linux.intelRdt`, by the kernel's resctrl file system.
//!
//! A class of service is a directory of /sys/fs/resctrl, named by `closID` or else by the container's id; its file
//! `schemata` says what its tasks may use, its file `tasks` who they are. A monitoring group is a directory
//! `mon_groups/<container id>` in the class. [config-linux.md, "IntelRdt"; Documentation/filesystems/resctrl.rst]
//!
//! The tool makes the class ([`Resctrl::make`]) and, before the container's program runs, writes the pid of its first
//! process into it ([`Group::join`]): children are born into their parent's group.
//!
//! What is left on the host, and who removes it: [`Group::remove`] takes the monitoring group away and the class only
//! when we made it under the container's id. A class that was named stays, even when we made it: others may be in it,
//! and the specification says so. All of this follows from configuration and id ([`Resctrl::group`]), so the command that
//! removes the container after a crash finds the same directories; missing ones are no error.
//!
//! The mount's path is a field, so that the rules can be tested on a directory: processors that have this are rare.

use crate::error::Error;
use oci_spec::runtime::LinuxIntelRdt;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use step::step;

/// The section, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// `None`: the container's id.
    class: Option<String>,
    /// What is compared with a class that exists: l3CacheSchema and memBwSchema, in this order.
    schemas: Vec<String>,
    /// The lines of `schemata`, which are written last and to whatever class.
    schemata: Vec<String>,
    monitoring: bool,
}

/// The mounted file system.
#[derive(Clone, Debug)]
pub(crate) struct Resctrl {
    dir: PathBuf,
}

/// A container's place in it: what its state has to remember.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// The class's directory.
    pub(crate) class: PathBuf,
    /// Whether it goes with the container.
    pub(crate) is_ours: bool,
    /// The monitoring group's directory, which always goes with the container.
    pub(crate) monitor: Option<PathBuf>,
}

/// Where resctrl is mounted, if at all.
const MOUNT: &str = "/sys/fs/resctrl";
/// [linux/magic.h]
const RDTGROUP_SUPER_MAGIC: rustix::fs::FsWord = 0x765_5821;

/// Checks the section.
pub(crate) fn plan(rdt: &LinuxIntelRdt) -> Result<Plan, Error> {
    let invalid = |why: String| Err(Error::Invalid(format!("linux.intelRdt.{why}")));
    if let Some(class) = rdt.clos_id().as_deref().filter(|class| *class != "/") {
        // The last three are the kernel's own directories.
        let taken = ["", ".", "..", "info", "mon_groups", "mon_data"].contains(&class);
        if taken || class.contains(|c: char| c == '/' || c.is_control()) {
            return invalid(format!("closID {class:?} cannot be the name of a class"));
        }
    }
    let schema = |schema: &Option<String>| schema.clone().filter(|schema| !schema.is_empty());
    let bandwidth = schema(rdt.mem_bw_schema());
    if let Some(line) = bandwidth.as_ref().filter(|line| !line.starts_with("MB:") || line.contains('\n')) {
        return invalid(format!("memBwSchema {line:?} must be one line that starts with MB:"));
    }
    let schemata: Vec<String> = rdt.schemata().iter().flatten().cloned().collect();
    if let Some(line) = schemata.iter().find(|line| line.contains('\n')) {
        return invalid(format!("schemata {line:?} must be one line each"));
    }
    // The hardware counts for every class, so that enableCMT and enableMBM of the specification before 1.3 ask for
    // nothing that has to be done.
    Ok(Plan {
        class: rdt.clos_id().clone(),
        schemas: schema(rdt.l3_cache_schema()).into_iter().chain(bandwidth).collect(),
        schemata,
        monitoring: rdt.enable_monitoring().unwrap_or(false),
    })
}

impl Resctrl {
    /// The host's. To be asked for while /sys is the host's.
    pub(crate) fn mounted() -> Result<Resctrl, Error> {
        if rustix::fs::statfs(MOUNT).is_ok_and(|stat| stat.f_type == RDTGROUP_SUPER_MAGIC) {
            return Ok(Resctrl { dir: MOUNT.into() });
        }
        Err(Error::Host {
            what: "limit cache and memory bandwidth (linux.intelRdt)".into(),
            lacks: format!("has no resctrl file system mounted at {MOUNT}"),
        })
    }

    /// Finds or makes the container's class, and its monitoring group. On failure nothing of ours is left.
    pub(crate) fn make(&self, plan: &Plan, id: &str) -> Result<Group, Error> {
        let mut group = Group { class: self.class_dir(plan, id), is_ours: false, monitor: None };
        let what = || format!("find or make the class {}", group.class.display());
        let is_new = step("make-class", "asked for by linux.intelRdt", what, || self.make_class(plan, &group.class))?;
        group.is_ours = is_new && plan.class.is_none();
        let filled = self.fill(plan, &group, is_new).and_then(|()| self.monitor(plan, &mut group, id));
        match filled {
            Ok(()) => Ok(group),
            Err(error) => {
                // Also a named class, when it is from this very moment.
                let _ = Group { is_ours: is_new, ..group }.remove();
                Err(error)
            }
        }
    }

    /// The place of a container that was made before: what [`Resctrl::make`] made, or took over after a crash.
    pub(crate) fn group(&self, plan: &Plan, id: &str) -> Group {
        let class = self.class_dir(plan, id);
        let monitor = plan.monitoring.then(|| class.join("mon_groups").join(id));
        Group { is_ours: plan.class.is_none(), class, monitor }
    }

    fn class_dir(&self, plan: &Plan, id: &str) -> PathBuf {
        match plan.class.as_deref() {
            Some("/") => self.dir.clone(),
            Some(class) => self.dir.join(class),
            None => self.dir.join(id),
        }
    }

    /// True when the class was not there before.
    fn make_class(&self, plan: &Plan, class: &Path) -> Result<bool, Error> {
        let is_there = class.is_dir();
        if !is_there && plan.class.is_some() && plan.schemas.is_empty() && plan.schemata.is_empty() {
            let why = "there is no such class, and nothing says what it should be".to_owned();
            return Err(self.failed("join a class", class, io::Error::new(io::ErrorKind::NotFound, why)));
        }
        match std::fs::create_dir(class) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(self.failed("make a class", class, error)),
        }
    }

    /// A new class gets its schemata. One that is there must have them already, but what `schemata` says is written.
    fn fill(&self, plan: &Plan, group: &Group, is_new: bool) -> Result<(), Error> {
        let file = group.class.join("schemata");
        if !is_new && !plan.schemas.is_empty() && plan.class.is_some() {
            let there = std::fs::read_to_string(&file).map_err(|e| self.failed("read a class", &file, e))?;
            if let Some(differs) = plan.schemas.iter().find(|schema| !is_met(schema, &there)) {
                let why = format!("the class has other values than {differs:?}");
                return Err(self.failed("join a class", &group.class, io::Error::other(why)));
            }
        } else {
            self.write_lines(&file, &plan.schemas)?;
        }
        self.write_lines(&file, &plan.schemata)
    }

    fn monitor(&self, plan: &Plan, group: &mut Group, id: &str) -> Result<(), Error> {
        if !plan.monitoring {
            return Ok(());
        }
        let dir = group.class.join("mon_groups").join(id);
        let what = || format!("make the monitoring group {}", dir.display());
        step("make-monitor", "asked for by enableMonitoring", what, || match std::fs::create_dir(&dir) {
            // Left by a crash: it bears this container's id.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            done => done.map_err(|e| self.failed("make a monitoring group", &dir, e)),
        })?;
        group.monitor = Some(dir);
        Ok(())
    }

    /// Changes what the container's class may use: `update --l3-cache-schema --mem-bw-schema`.
    pub(crate) fn update(&self, group: &Group, l3: Option<&str>, bandwidth: Option<&str>) -> Result<(), Error> {
        let mut rdt = LinuxIntelRdt::default();
        rdt.set_l3_cache_schema(l3.map(String::from)).set_mem_bw_schema(bandwidth.map(String::from));
        self.write_lines(&group.class.join("schemata"), &plan(&rdt)?.schemas)
    }

    fn write_lines(&self, file: &Path, lines: &[String]) -> Result<(), Error> {
        lines.iter().try_for_each(|line| {
            let what = || format!("write {line:?} to {}", file.display());
            step("set-schemata", "asked for by linux.intelRdt", what, || write(file, line))
                .map_err(|error| self.failed("set the values of a class", file, error))
        })
    }

    /// The kernel has a sentence for why it refused.
    fn failed(&self, what: &'static str, path: &Path, error: io::Error) -> Error {
        let status = std::fs::read_to_string(self.dir.join("info/last_cmd_status")).unwrap_or_default();
        let source = match status.trim() {
            "" | "ok" => error,
            status if error.raw_os_error().is_some() => io::Error::other(format!("{error}: {status}")),
            _ => error,
        };
        Error::Resctrl { what, path: path.to_owned(), source }
    }
}

impl Group {
    /// Puts the process, and with it all that it will start, into the group.
    pub(crate) fn join(&self, resctrl: &Resctrl, pid: i32) -> Result<(), Error> {
        let what = || format!("put the process {pid} into {}", self.class.display());
        step("join-class", "asked for by linux.intelRdt", what, || {
            // The class first: who leaves a class leaves its monitoring groups.
            [Some(&self.class), self.monitor.as_ref()].into_iter().flatten().try_for_each(|dir| {
                let tasks = dir.join("tasks");
                write(&tasks, &pid.to_string()).map_err(|e| resctrl.failed("put a process into a group", &tasks, e))
            })
        })
    }

    /// Takes away what goes with the container. Goes on after an error; what is gone already is none.
    pub(crate) fn remove(&self) -> Vec<Error> {
        let class = self.is_ours.then_some(&self.class);
        // With the class its monitoring groups go too, but in this order each error is of one thing.
        let dirs = [self.monitor.as_ref(), class].into_iter().flatten();
        let remove = |dir: &PathBuf| {
            let what = || format!("remove {}", dir.display());
            let removed = step("remove-class", "the container is gone", what, || match std::fs::remove_dir(dir) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                done => done,
            });
            removed.err().map(|source| Error::Resctrl { what: "remove a group", path: dir.clone(), source })
        };
        dirs.filter_map(remove).collect()
    }
}

/// One write with the newline that the kernel asks for.
fn write(file: &Path, line: &str) -> io::Result<()> {
    // The kernel makes the files of a group, the tests' directory has to have them made.
    let mut file = OpenOptions::new().append(true).create(cfg!(test)).open(file)?;
    file.write_all(format!("{line}\n").as_bytes())
}

/// Whether a class's `schemata` has every value that `schema` names.
fn is_met(schema: &str, there: &str) -> bool {
    let there = values(there);
    values(schema).iter().all(|(of, value)| there.get(of) == Some(value))
}

/// `L3:0=7f0;1=1f` as values by resource and domain. The kernel pads with blanks and zeros.
fn values(schemata: &str) -> BTreeMap<(String, String), String> {
    let plain = |text: &str| text.trim().trim_start_matches('0').to_ascii_lowercase();
    let lines = schemata.lines().filter_map(|line| line.split_once(':'));
    lines
        .flat_map(|(resource, domains)| {
            let domains = domains.split(';').filter_map(|domain| domain.split_once('='));
            domains.map(move |(domain, value)| ((resource.trim().to_owned(), plain(domain)), plain(value)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn of(section: Value) -> Result<Plan, Error> {
        plan(&serde_json::from_value(section).unwrap())
    }

    /// A directory in which a class `old` is there, as the kernel would show it.
    fn scratch(name: &str) -> Resctrl {
        let dir = std::env::temp_dir().join(format!("mycontainer-resctrl-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        for class in ["old", "old/mon_groups", "mon_groups"] {
            std::fs::create_dir_all(dir.join(class)).unwrap();
        }
        std::fs::write(dir.join("old/schemata"), "    L3:0=07f0;1=1f\n    MB:0= 20;1= 70\n").unwrap();
        Resctrl { dir }
    }

    #[test]
    fn sections_that_are_refused() {
        for (section, expected) in [
            (json!({}), None),
            (json!({"closID": "/"}), None),
            (json!({"closID": "guaranteed_group", "schemata": ["L3:0=7f0;1=1f", "MB:0=20"]}), None),
            (json!({"memBwSchema": "MB:0=20", "l3CacheSchema": "L3:0=f"}), None),
            (json!({"closID": ""}), Some("closID")),
            (json!({"closID": ".."}), Some("closID")),
            (json!({"closID": "a/b"}), Some("closID")),
            (json!({"closID": "info"}), Some("closID")),
            (json!({"memBwSchema": "0=20"}), Some("starts with MB:")),
            (json!({"memBwSchema": "MB:0=20\nL3:0=1"}), Some("one line")),
            (json!({"schemata": ["MB:0=20\nL3:0=1"]}), Some("one line each")),
        ] {
            let said = of(section.clone()).err().map(|e| e.to_string());
            assert_eq!(said.is_some(), expected.is_some(), "{section}: {said:?}");
            assert!(said.as_ref().is_none_or(|said| said.contains(expected.unwrap())), "{section}: {said:?}");
        }
    }

    #[test]
    fn which_class_and_what_is_written() {
        let old = "    L3:0=07f0;1=1f\n    MB:0= 20;1= 70\n";
        /// The class, whether it is ours, and its schemata afterwards; or a word of the error.
        type Expected = Result<(&'static str, bool, &'static str), &'static str>;
        let table: &[(&str, Value, Expected)] = &[
            ("nothing said", json!({}), Ok(("box", true, ""))),
            (
                "all said",
                json!({"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=5", "schemata": ["L2:0=1", "L2:1=1"]}),
                Ok(("box", true, "L3:0=f\nMB:0=5\nL2:0=1\nL2:1=1\n")),
            ),
            ("new and named", json!({"closID": "new", "l3CacheSchema": "L3:0=f"}), Ok(("new", false, "L3:0=f\n"))),
            ("named, not there", json!({"closID": "new"}), Err("there is no such class")),
            ("named, there", json!({"closID": "old"}), Ok(("old", false, old))),
            ("as it is", json!({"closID": "old", "l3CacheSchema": "L3:0=7F0"}), Ok(("old", false, old))),
            ("as it is, both", json!({"closID": "old", "memBwSchema": "MB:1=70"}), Ok(("old", false, old))),
            ("other mask", json!({"closID": "old", "l3CacheSchema": "L3:0=7f0;1=2f"}), Err("other values")),
            ("other domain", json!({"closID": "old", "memBwSchema": "MB:2=20"}), Err("other values")),
            (
                "schemata are written",
                json!({"closID": "old", "schemata": ["MB:0=30"]}),
                Ok(("old", false, "    L3:0=07f0;1=1f\n    MB:0= 20;1= 70\nMB:0=30\n")),
            ),
        ];
        for (name, section, expected) in table {
            let resctrl = scratch(&name.replace([' ', ','], "-"));
            match (resctrl.make(&of(section.clone()).unwrap(), "box"), expected) {
                (Ok(group), Ok((class, is_ours, schemata))) => {
                    assert_eq!((group.class.file_name().unwrap().to_str(), group.is_ours), (Some(*class), *is_ours));
                    let text = std::fs::read_to_string(group.class.join("schemata")).unwrap_or_default();
                    assert_eq!(text, *schemata, "{name}");
                }
                (Err(error), Err(word)) => {
                    assert!(error.to_string().contains(word), "{name}: {error}");
                    assert!(!resctrl.dir.join("new").exists(), "{name}: something is left");
                }
                (got, _) => panic!("{name}: {got:?}, expected {expected:?}"),
            }
            std::fs::remove_dir_all(&resctrl.dir).unwrap();
        }
        let resctrl = scratch("root");
        let group = resctrl.make(&of(json!({"closID": "/"})).unwrap(), "box").unwrap();
        assert_eq!((&group.class, group.is_ours), (&resctrl.dir, false));
        std::fs::remove_dir_all(&resctrl.dir).unwrap();
    }

    #[test]
    fn who_is_in_it_and_what_goes_with_the_container() {
        for (class, goes) in [("box", true), ("old", false)] {
            let resctrl = scratch(&format!("life-{class}"));
            let section = if goes { json!({}) } else { json!({"closID": "old"}) };
            let mut planned = of(section).unwrap();
            planned.monitoring = true;
            if goes {
                // The kernel makes this directory with the class.
                assert!(resctrl.make(&planned, "box").unwrap_err().to_string().contains("monitoring group"));
                assert!(!resctrl.dir.join("box").exists(), "a class is left");
                planned.monitoring = false;
            }
            let group = resctrl.make(&planned, "box").unwrap();
            group.join(&resctrl, 4711).unwrap();
            resctrl.update(&group, Some("L3:0=3"), None).unwrap();
            assert!(resctrl.update(&group, None, Some("L3:0=3")).is_err(), "that is no bandwidth");
            let read = |file: &str| std::fs::read_to_string(group.class.join(file)).unwrap();
            assert_eq!(read("tasks"), "4711\n");
            assert!(read("schemata").ends_with("L3:0=3\n"));
            if !goes {
                assert_eq!(read("mon_groups/box/tasks"), "4711\n");
                std::fs::remove_file(group.class.join("mon_groups/box/tasks")).unwrap();
            }
            // The kernel's files are no obstacle to its rmdir.
            for file in ["tasks", "schemata"] {
                std::fs::remove_file(group.class.join(file)).unwrap();
            }
            assert!(group.remove().is_empty());
            assert_eq!(group.class.exists(), !goes, "{class}");
            assert!(!resctrl.dir.join("old/mon_groups/box").exists());
            assert!(group.remove().is_empty(), "once more is no error");
            std::fs::remove_dir_all(&resctrl.dir).unwrap();
        }
    }

    #[test]
    fn the_kernels_own_sentence_is_told_and_a_missing_mount_is_named() {
        let resctrl = scratch("status");
        std::fs::create_dir(resctrl.dir.join("info")).unwrap();
        std::fs::write(resctrl.dir.join("info/last_cmd_status"), "Mask f out of range\n").unwrap();
        let group = Group { class: resctrl.dir.join("gone"), is_ours: false, monitor: None };
        let said = group.join(&resctrl, 1).unwrap_err().to_string();
        assert!(said.contains("gone/tasks") && said.ends_with("Mask f out of range"), "{said}");
        std::fs::remove_dir_all(&resctrl.dir).unwrap();
        if let Err(error) = Resctrl::mounted() {
            assert!(error.to_string().contains("no resctrl file system mounted at /sys/fs/resctrl"), "{error}");
        }
    }
}
