use super::*;

#[test]
fn roles_survive_packing() {
    let roles = [
        Role::Unused,
        Role::Runs(NodeId(0)),
        Role::Runs(NodeId(255)),
        Role::Span { chunks: 1, live: true, dirty: true },
        Role::Span { chunks: 1 << 21, live: false, dirty: true },
        Role::Span { chunks: 3, live: false, dirty: false },
    ];
    for role in roles {
        assert_eq!(Role::from_word(role.to_word()), role);
    }
}

#[test]
fn zeroed_memory_is_an_unused_chunk() {
    assert_eq!(Role::from_word(0), Role::Unused);
}
