//! Docker's rules of what a copy is called and where it goes.

/// What is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// Anything but a directory.
    File,
    /// A directory.
    Directory,
    /// What is in a directory: `DIR/.`
    Contents,
}

/// What there is at DEST, symlinks followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum There {
    /// A directory.
    Directory,
    /// A file.
    File,
    /// Nothing.
    Nothing,
    /// Nothing, and it was to be a directory: `DEST/`
    NoDirectory,
}

/// Where the copy goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    /// Into DEST, under SRC's name.
    Inside,
    /// Into DEST, what is in SRC each under its name.
    Merged,
    /// To DEST itself.
    Itself,
}

/// Why there is no such copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// A directory over a file.
    DirectoryToFile,
    /// The directory that a file was to go to is not there.
    NoDirectory,
}

pub(super) fn decide(from: From, there: There) -> Result<To, Wrong> {
    match (from, there) {
        (From::Contents, There::Directory) => Ok(To::Merged),
        (_, There::Directory) => Ok(To::Inside),
        (From::File, There::NoDirectory) => Err(Wrong::NoDirectory),
        (From::File, _) => Ok(To::Itself),
        (_, There::File) => Err(Wrong::DirectoryToFile),
        (_, There::Nothing | There::NoDirectory) => Ok(To::Itself),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of docs.docker.com/reference/cli/docker/container/cp, row by row.
    #[test]
    fn dockers_table() {
        for (from, there, expected) in [
            (From::File, There::Nothing, Ok(To::Itself)),
            (From::File, There::NoDirectory, Err(Wrong::NoDirectory)),
            (From::File, There::File, Ok(To::Itself)),
            (From::File, There::Directory, Ok(To::Inside)),
            (From::Directory, There::Nothing, Ok(To::Itself)),
            (From::Directory, There::NoDirectory, Ok(To::Itself)),
            (From::Directory, There::File, Err(Wrong::DirectoryToFile)),
            (From::Directory, There::Directory, Ok(To::Inside)),
            (From::Contents, There::Nothing, Ok(To::Itself)),
            (From::Contents, There::NoDirectory, Ok(To::Itself)),
            (From::Contents, There::File, Err(Wrong::DirectoryToFile)),
            (From::Contents, There::Directory, Ok(To::Merged)),
        ] {
            assert_eq!(decide(from, there), expected, "{from:?} {there:?}");
        }
    }
}
