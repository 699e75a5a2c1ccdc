//! The engine's verbs, one file each, and what a container is from inside.
//!
//! One program, since linking a hundred took longer than running them; one file a subject.

#[path = "../common/mod.rs"]
mod common;
#[path = "../fixtures/mod.rs"]
mod fixtures;

mod all_and_ignore;
mod attach;
mod boot;
mod boot_unit;
mod cgroup_parent;
mod commit;
mod completion;
mod container_inspect;
mod cp;
mod cp_escape;
mod create;
mod create_rm;
mod detach;
mod diff;
mod events;
mod exec;
mod explain;
mod export;
mod generate_systemd;
mod health;
mod healthcheck;
mod inside;
mod inspect;
mod journald;
mod kept_options;
mod kill_stop;
mod limits;
mod log_load;
mod logs;
mod man;
mod more_flags;
mod mount;
mod parallel;
mod pause;
mod pod;
mod prune;
mod ps;
mod rename;
mod restart;
mod run;
mod share_namespaces;
mod start;
mod stats;
mod system_check;
mod terminal;
mod top;
mod update;
mod userns;
mod volume;
mod volumes_of_containers;
mod wait;
mod wrong_use;
