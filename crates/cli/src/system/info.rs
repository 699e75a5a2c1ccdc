//! `info` and `version`: this machine, and this tool.

use crate::help::show;
use crate::report::Failure;
use crate::table::{binary_size, harmless};
use crate::template::{Backslashes, Data, Template};
use crate::verb::{About, Flag, Group, Verb, switch, value};
use engine::info::Info;
use engine::prerequisites::{Looked, Verdict};
use std::fmt::Write;
use std::process::ExitCode;

#[derive(Debug, Default)]
pub(crate) struct Request {
    format: Option<String>,
    check: bool,
}

const CHECK: Flag<Request> = switch(
    "check",
    None,
    "Look at what containers need of this host, each with what to do about it",
    |r: &mut Request| &mut r.check,
);

const FORMAT: Flag<Request> =
    value("format", Some('f'), "FORMAT", "`json`, or a template as '{{.ServerVersion}}'", |r: &mut Request, v| {
        r.format = Some(v.to_owned());
        Ok(())
    });

const VERSION_FORMAT: Flag<Request> =
    value("format", Some('f'), "FORMAT", "`json`, or a template as '{{.Client.Version}}'", |r: &mut Request, v| {
        r.format = Some(v.to_owned());
        Ok(())
    });

/// `mycontainer info`.
pub(crate) static INFO: Verb<Request> = Verb {
    about: About {
        also: &["system info"],
        outro: "Fields for --format are Docker's, of what there is here: Containers ContainersRunning ContainersPaused\n\
                ContainersStopped Images Driver DriverStatus Plugins MemoryLimit SwapLimit CpuCfsQuota CPUShares CPUSet\n\
                PidsLimit IPv4Forwarding SystemTime LoggingDriver CgroupDriver CgroupVersion KernelVersion\n\
                OperatingSystem OSVersion OSType Architecture NCPU MemTotal DockerRootDir Registries Name\n\
                DefaultRuntime ServerVersion SecurityOptions Warnings.",
        // What is to be looked at may be what keeps an ordinary user's containers from being.
        is_apart: true,
        ..About::new("info", "", "Show this machine as it matters to containers")
    },
    groups: &[Group { heading: "Flags", flags: &[CHECK, FORMAT] }],
    act: |request, _| {
        if request.check {
            return check(request.format.as_deref());
        }
        engine::enter_user_namespace(&mut crate::report::note)?;
        let info = engine::info::info()?;
        formatted(request.format.as_deref(), &Data::of(&info), || text(&info))
    },
};

/// `mycontainer version`.
pub(crate) static VERSION: Verb<Request> = Verb {
    about: About {
        also: &["--version", "-V"],
        outro: "Fields for --format: Client.Version Client.Os Client.Arch. There is no server.",
        is_apart: true,
        ..About::new("version", "", "Show the version")
    },
    groups: &[Group { heading: "Flags", flags: &[VERSION_FORMAT] }],
    act: |request, _| {
        let version = env!("CARGO_PKG_VERSION");
        let here = engine::images::Platform::here();
        let client =
            Data::row().with("Version", version).with("Os", here.os.as_str()).with("Arch", here.architecture.as_str());
        let all = Data::row().with("Client", client);
        formatted(request.format.as_deref(), &all, || format!("mycontainer {version}\n"))
    },
};

/// A line for each thing, and below it what to do. Exit code 1 when no container can run.
fn check(format: Option<&str>) -> Result<ExitCode, Failure> {
    if format.is_some() {
        return Err(Failure::misuse("--check has no --format", "leave one of the two away"));
    }
    let looked = engine::prerequisites::check();
    let word = |verdict| match verdict {
        Verdict::Good => "ok",
        Verdict::Lacking => "lacking",
        Verdict::Missing => "MISSING",
    };
    let mut text = String::new();
    for Looked { name, verdict, found, remedy } in &looked {
        let _ = writeln!(text, "{:8} {name}: {found}", word(*verdict));
        if !remedy.is_empty() {
            let _ = writeln!(text, "         {remedy}");
        }
    }
    show(&text);
    let can_run = looked.iter().all(|one| one.verdict != Verdict::Missing);
    Ok(if can_run { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// As the format says; without one, as `text` does.
fn formatted(format: Option<&str>, data: &Data, text: impl Fn() -> String) -> Result<ExitCode, Failure> {
    Ok(show(&match format.unwrap_or_default().trim() {
        "" => text(),
        "json" => data.json() + "\n",
        format => Template::parse(format, Backslashes::Read)?.render(data)? + "\n",
    }))
}

/// Docker's lines.
fn text(info: &Info) -> String {
    let mut text = format!(
        "Containers: {}\n Running: {}\n Paused: {}\n Stopped: {}\nImages: {}\nServer Version: {}\nStorage Driver: {}\n",
        info.containers,
        info.containers_running,
        info.containers_paused,
        info.containers_stopped,
        info.images,
        info.server_version,
        info.driver,
    );
    info.driver_status.iter().for_each(|[name, value]| {
        let _ = writeln!(text, " {name}: {value}");
    });
    let plugins = &info.plugins;
    let _ = write!(
        text,
        "Logging Driver: {}\nCgroup Driver: {}\nCgroup Version: {}\nPlugins:\n Volume: {}\n Network: {}\n Log: {}\n\
         Default Runtime: {}\nSecurity Options:\n",
        info.logging_driver,
        info.cgroup_driver,
        info.cgroup_version,
        plugins.volume.join(" "),
        plugins.network.join(" "),
        plugins.log.join(" "),
        info.default_runtime,
    );
    // `name=seccomp,profile=builtin`
    for option in &info.security_options {
        let mut pairs = option.split(',').filter_map(|pair| pair.split_once('='));
        let _ = writeln!(text, " {}", pairs.next().map_or(option.as_str(), |(_, name)| name));
        pairs.for_each(|(name, value)| {
            let _ = writeln!(text, "  {}{}: {value}", &name[..1].to_uppercase(), &name[1..]);
        });
    }
    let _ = write!(
        text,
        "Kernel Version: {}\nOperating System: {}\nOSType: {}\nArchitecture: {}\nCPUs: {}\nTotal Memory: {}\nName: {}\n\
         Registries: {}\nDocker Root Dir: {}\n",
        info.kernel_version,
        info.operating_system,
        info.os_type,
        info.architecture,
        info.cpus,
        binary_size(info.mem_total),
        info.name,
        info.registries.join(" "),
        info.docker_root_dir,
    );
    info.warnings.iter().for_each(|warning| {
        let _ = writeln!(text, "{warning}");
    });
    harmless(&text)
}
