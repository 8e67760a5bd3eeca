//! The tree language from outside: files in, checked trees and diagnostics out.

mod bench;
mod example;
mod mistakes;
mod mutations;
mod ordinary;
mod params;
mod random;
mod schema;
mod subtrees;
mod workflows;
