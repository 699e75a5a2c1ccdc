//! A walk over a hostile tree.
