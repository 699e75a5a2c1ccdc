//! Who is in the container's /etc/passwd and /etc/group, and who `keep-id` adds to them.
//!
//! Whoever keeps the number of a user of the host is nobody whom an image knows, and programs ask for a name. So a container
//! that does not know the number has the user's name for it, in files that are mounted over its own. [podman-run(1),
//! --userns=keep-id, --passwd]

use super::{UserMode, choose};
use crate::error::Error;
use crate::files::is_ours;
use crate::options::RunOptions;
use crate::rootfs::{self, Meant};
use crate::rootless;
use crate::state::data_dir;
use crate::user;
use runtime::{File, Root};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::Path;

const PASSWD: &str = "etc/passwd";
const GROUP: &str = "etc/group";
/// From here on an id is nobody's, and says nothing of how many there are.
const NOBODY: u32 = 65534;

/// The two files with the user whom `keep-id` keeps, where the container does not know them.
pub(crate) fn files(options: &RunOptions, root: &Root) -> Result<Vec<File>, Error> {
    let UserMode::KeepId { uid, gid } = super::said(options)? else { return Ok(Vec::new()) };
    let (own_uid, own_gid) = choose::own_ids()?;
    let (uid, gid) = (uid.unwrap_or(own_uid), gid.unwrap_or(own_gid));
    let Some(name) = rootless::name_of(own_uid) else { return Ok(Vec::new()) };
    let (passwd, group) = (user::read(root, PASSWD)?, user::read(root, GROUP)?);
    let mut files = Vec::new();
    let mut add = |path: &str, text: String, line: String| {
        let path = Path::new("/").join(path);
        // A root without the file looks nobody up.
        if !text.is_empty() && is_ours(options, &path) {
            let end = if text.ends_with('\n') { "" } else { "\n" };
            files.push(File { path, content: (text + end + &line).into_bytes(), stays_writable: false });
        }
    };
    if user::account(&passwd, uid).is_none() {
        add(PASSWD, passwd, format!("{name}:*:{uid}:{gid}::/:/bin/sh\n"));
    }
    if !user::has_group(&group, gid) {
        add(GROUP, group, format!("{name}:x:{gid}:\n"));
    }
    Ok(files)
}

/// How many ids a container needs, so that it has all of whom its files and flags tell. Whom it runs as is among them also
/// where that is nobody.
pub(super) fn needed(options: &RunOptions, meant: &Meant) -> Result<u32, Error> {
    let layers = layers(options, meant)?;
    // What a higher layer has stands in place of the lower ones'.
    let told = |path: &str| -> Result<(String, Vec<u32>), Error> {
        for layer in layers.iter().rev() {
            let text = user::read(layer, path)?;
            let ids = user::ids_in(&text, path == PASSWD);
            if !ids.is_empty() {
                return Ok((text, ids));
            }
        }
        Ok(Default::default())
    };
    let ((passwd, users), (groups, of_groups)) = (told(PASSWD)?, told(GROUP)?);
    let of_image = match meant {
        Meant::Image(_, image) => Some(image.config.config.user.as_str()),
        _ => None,
    };
    let runs_as = options.user.as_deref().or(of_image).map(|user| user::ids_of(&passwd, &groups, user));
    let more = options.group_add.iter().filter_map(|group| user::group_id(&groups, group));
    let known = users.into_iter().chain(of_groups).filter(|id| *id < NOBODY);
    Ok(known.chain(runs_as.into_iter().flatten()).chain(more).max().unwrap_or(0) + 1)
}

/// What the root is made of, the lowest first.
fn layers(options: &RunOptions, meant: &Meant) -> Result<Vec<Root>, Error> {
    let path = Path::new(&options.root);
    let fds: Vec<OwnedFd> = match meant {
        Meant::Image(images, image) => images.root(image)?,
        Meant::Directory => vec![rootfs::directory(path)?],
        Meant::Archive => vec![image::Store::open(data_dir())?.archive(path)?.dir],
        Meant::Unpacked(unpacked) => {
            let copy = unpacked.dir.try_clone();
            vec![copy.map_err(|e| Error::file("open", &unpacked.path)(Errno::from_io_error(&e).unwrap_or(Errno::IO)))?]
        }
        Meant::Host | Meant::Empty => Vec::new(),
    };
    Ok(fds.into_iter().map(Root::new).collect())
}
