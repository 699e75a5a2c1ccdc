//! Named files, in a directory or in a tar.
