//! `system df`: what takes which space on disk.

use super::list;
use crate::help::show;
use crate::report::{self, Failure};
use crate::table::short_size;
use crate::template::{Data, List};
use crate::verb::{About, Group, Verb, switch, value};
use engine::images;
use std::process::ExitCode;

#[derive(Debug, Default)]
pub(crate) struct Request {
    verbose: bool,
    format: Option<String>,
}

/// `mycontainer system df`.
pub(crate) static DF: Verb<Request> = Verb {
    about: About {
        outro: "The size of images is that of their layers, ready to run and as they were fetched, and of what was begun to be\n\
                fetched.\n\
                Fields for --format: Type TotalCount Active Size Reclaimable.",
        ..About::new("system df", "", "Show what takes which space on disk")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            value("format", None, "FORMAT", "`table`, `json`, or a template as '{{.Type}} {{.Size}}'", |r, v| {
                r.format = Some(v.to_owned());
                Ok(())
            }),
            switch("verbose", Some('v'), "Show it of each image", |r| &mut r.verbose),
        ],
    }],
    act: |request, _| {
        let format = request.format.as_deref();
        if request.verbose { each(format) } else { all(format) }
    },
};

fn all(format: Option<&str>) -> Result<ExitCode, Failure> {
    let list = List::parse(format, "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}")?;
    let usage = images::disk_usage(&images::store()?)?;
    let bytes = usage.usage.blobs + usage.usage.trees + usage.usage.partial;
    let percent = (usage.reclaimable * 100).checked_div(bytes).unwrap_or(0);
    let row = Data::row()
        .with("Type", "Images")
        .with("TotalCount", usage.images.to_string())
        .with("Active", usage.active.to_string())
        .with("Size", short_size(bytes))
        .with("Reclaimable", format!("{} ({percent}%)", short_size(usage.reclaimable)));
    let rows = [row, volumes()?];
    Ok(show(&list.render(&rows, &rows[0], &[("TotalCount", "TOTAL")])?))
}

fn volumes() -> Result<Data, Failure> {
    let (listed, errors) = engine::volumes::list()?;
    errors.iter().for_each(|error| report::note(&error.to_string()));
    let (mut bytes, mut unused, mut active) = (0, 0, 0);
    for volume in &listed {
        let own = engine::volumes::bytes(&volume.known.mountpoint());
        bytes += own;
        if volume.containers.is_empty() { unused += own } else { active += 1 }
    }
    let percent = (unused * 100).checked_div(bytes).unwrap_or(0);
    Ok(Data::row()
        .with("Type", "Local Volumes")
        .with("TotalCount", listed.len().to_string())
        .with("Active", active.to_string())
        .with("Size", short_size(bytes))
        .with("Reclaimable", format!("{} ({percent}%)", short_size(unused))))
}

fn each(format: Option<&str>) -> Result<ExitCode, Failure> {
    let default = "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t\
                   {{.UniqueSize}}\t{{.Containers}}";
    let table = List::parse(format, default)?;
    let store = images::store()?;
    let (rows, errors) = images::rows(&store)?;
    errors.iter().for_each(|error| report::note(&error.to_string()));
    let shares = images::shares(&store)?;
    let data = |row: &images::Row| {
        let share = shares.iter().find(|share| share.id == row.id).cloned().unwrap_or_default();
        list::data(row, false)
            .with("SharedSize", short_size(share.shared))
            .with("UniqueSize", short_size(share.unique))
            .with("Containers", share.containers.to_string())
    };
    let rows: Vec<Data> = rows.iter().map(data).collect();
    let headings = [("ID", "IMAGE ID"), ("CreatedSince", "CREATED")];
    let text = table.render(&rows, &data(&images::Row::default()), &headings)?;
    Ok(show(&if format.is_none() { format!("Images space usage:\n\n{text}") } else { text }))
}
