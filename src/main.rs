//! The program.

#[allow(dead_code, unused_imports)]
mod wire;

fn main() {}
