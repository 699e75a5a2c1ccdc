//! Archives of `docker save`, read.
