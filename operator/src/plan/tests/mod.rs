//! Tests of whole plans: scenarios as text, and properties of random ones.

mod daemon_set;
mod model;
mod print;
mod properties;
mod random;
mod scenarios;
