//! Tests of the family: certificates made here, TLS servers on loopback, a real ACME directory.

mod authority;
mod certificate;
mod check;
mod web;
mod with_pebble;
