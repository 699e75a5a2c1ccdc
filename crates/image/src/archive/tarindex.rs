//! Where in a tar its files are.
