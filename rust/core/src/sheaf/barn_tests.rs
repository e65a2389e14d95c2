#![forbid(unsafe_code)]
//! A barn on one thread, and its limit.

use super::*;
use crate::sync::Link;

struct Table(Vec<Link>);

impl Links for Table {
    fn link(&self, index: Index) -> &Link {
        &self.0[index as usize]
    }
}

#[test]
fn full_and_empty_sheaves_are_two_stacks() {
    for form in [Form::detect(), Form::Packed] {
        let (barn, links) = (Barn::new(form), Table((0..5).map(|_| Link::new()).collect()));
        barn.put_full(form, &links, 1);
        barn.put_full(form, &links, 2);
        barn.put_empty(form, &links, 3);
        let mut seen = vec![];
        barn.visit_full(form, &links, |sheaf| seen.push(sheaf));
        assert_eq!((barn.full(form), barn.empty(form), seen), (2, 1, vec![2, 1]));
        assert_eq!(barn.get_two_full(form, &links), [Some(2), Some(1)]);
        assert_eq!(barn.get_two_full(form, &links), [None, None]);
        barn.put_two_empty(form, &links, [2, 4]);
        assert_eq!([(); 2].map(|()| barn.get_empty(form, &links)), [Some(2), Some(4)]);
        barn.put_full(form, &links, 1);
        barn.put_full(form, &links, 2);
        assert_eq!([(); 3].map(|()| barn.get_full(form, &links)), [Some(2), Some(1), None]);
        assert_eq!(barn.get_two_empty(form, &links), [Some(3), None]);
        assert_eq!(barn.get_two_empty(form, &links), [None, None]);
        barn.put_two_full(form, &links, [1, 2]);
        assert_eq!((barn.full(form), barn.get_two_full(form, &links)), (2, [Some(1), Some(2)]));
    }
}

#[test]
fn a_barn_takes_ten_full_sheaves_or_more_where_they_are_small() {
    assert_eq!(full_limit(28, 4096), 10, "large objects: the kernel's limit");
    assert_eq!(full_limit(60, 64), 34, "128 KiB of objects");
    assert_eq!(full_limit(0, 8), 16384, "a cache without sheaves asks for none");
}
