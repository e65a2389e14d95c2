//! The slab word's two packings.

use super::*;
use proptest::prelude::*;

fn state() -> impl Strategy<Value = SlabState> {
    (0u32..1 << HEAD_BITS, 0u32..1 << FREE_BITS, any::<bool>(), any::<u64>())
        .prop_map(|(head, free, dead, generation)| SlabState { head: ObjRef(head), free, dead, generation })
}

proptest! {
    #[test]
    fn double_keeps_everything(state in state()) {
        let (word0, word1) = state.to_double();
        prop_assert_eq!(SlabState::from_double(word0, word1), state);
    }

    #[test]
    fn packed_loses_only_high_bits_of_the_generation(state in state()) {
        let kept = SlabState { generation: state.generation & ((1 << 28) - 1), ..state };
        prop_assert_eq!(SlabState::from_packed(state.to_packed()), kept);
    }

    #[test]
    fn no_two_states_share_a_word(a in state(), b in state()) {
        if SlabState::from_packed(a.to_packed()) != SlabState::from_packed(b.to_packed()) {
            prop_assert_ne!(a.to_packed(), b.to_packed());
        }
        prop_assert_eq!(a == b, a.to_double() == b.to_double());
    }

    #[test]
    fn word_0_of_the_double_form_decides_alone(state in state(), other in any::<u64>()) {
        let torn = SlabState::from_double(state.to_double().0, other);
        prop_assert_eq!((torn.head, torn.free, torn.dead), (state.head, state.free, state.dead));
    }

    #[test]
    fn every_offset_of_the_largest_slab_has_a_reference(offset in 0usize..1 << 20) {
        let reference = ObjRef::at(offset * 8 % (4 << 20));
        prop_assert!(!reference.is_none() && reference.0 < 1 << HEAD_BITS);
        prop_assert_eq!(reference.offset(), offset * 8 % (4 << 20));
    }
}

#[test]
fn death_empties_the_slab_and_rebirth_keeps_the_generation() {
    let living = SlabState { head: ObjRef::at(64), free: 3, dead: false, generation: 6 };
    let dead = living.killed();
    assert_eq!(dead, SlabState { head: ObjRef::NONE, free: 0, dead: true, generation: 7 });
    assert_eq!(dead.reborn(ObjRef::at(0), 2), SlabState { head: ObjRef::at(0), free: 2, dead: false, generation: 7 });
}

#[test]
fn zeroed_memory_is_a_slab_that_was_never_used() {
    let unborn = SlabState { head: ObjRef::NONE, free: 0, dead: false, generation: 0 };
    assert_eq!((SlabState::from_double(0, 0), SlabState::from_packed(0)), (unborn, unborn));
}
