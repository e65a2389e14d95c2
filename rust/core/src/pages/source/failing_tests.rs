use super::*;

#[test]
fn grants_as_many_as_told_then_refuses_until_healed() {
    let switch = FailSwitch::new();
    assert!(switch.grant(1));
    switch.fail_after(2);
    assert_eq!([switch.grant(1), switch.grant(512), switch.grant(1), switch.grant(1)], [true, true, false, false]);
    assert_eq!(switch.refused(), 2);
    switch.heal();
    assert!(switch.grant(1));
    switch.fail_now();
    assert!(!switch.clone().grant(1), "clones are the same switch");
    assert_eq!(switch.refused(), 3);
}
