//! The example of RCU does what it says.

#[path = "../../../examples/rcu.rs"]
mod example;

#[test]
fn tables_are_whole_as_long_as_they_are_read() {
    example::main().unwrap();
}
